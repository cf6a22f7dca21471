//! Anything at all into every rpc: messages with arbitrary fields, and bytes that are hardly messages. Whatever comes,
//! the server goes on, answers by the contract, keeps its memory within bounds, and its store stays whole.
//!
//! `SLUICE_FUZZ_SECONDS` says how long (10), `SLUICE_FUZZ_SEED` begins as another run did. What was on the way when
//! something went wrong is written to `tests/corpus/rpc`, to be kept there: all of it is sent first in each run.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;
use futures::future::join_all;
use prost::Message;
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, MethodDescriptor, ReflectMessage, Value,
};
use sluice_tests::{Setup, Sluiced, spec, task, wire};
use tonic::{Code, Status};

use crate::input::row;
use crate::input::{World, world};

/// Callers at a time.
const CALLERS: u64 = 16;
/// Calls of one caller with the same world: then its queue may be gone, or full.
const CALLS_PER_WORLD: usize = 100;
/// A call that waits for something is given up.
const PATIENCE: Duration = Duration::from_millis(100);
/// Calls of a caller that are written down when something goes wrong.
const REMEMBERED: usize = 8;
/// How much more memory the server may have afterwards.
const MAX_GROWTH: u64 = 256 << 20;

/// One caller.
struct Caller {
    chance: Rng,
    methods: Vec<MethodDescriptor>,
    /// The latest calls: the rpc, and what was sent.
    latest: VecDeque<(String, Bytes)>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anything_is_answered_by_the_contract_and_the_store_stays_whole() {
    let said = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seed = said("SLUICE_FUZZ_SEED").unwrap_or_else(|| fastrand::u64(..));
    let end = Instant::now() + Duration::from_secs(said("SLUICE_FUZZ_SECONDS").unwrap_or(10));
    println!("SLUICE_FUZZ_SEED={seed}");
    let mut server = Setup::small_segments().start().await;
    let before = server.resident_bytes();
    for (rpc, bytes) in corpus() {
        let method = wire::methods().into_iter().find(|method| method.name() == rpc).expect("an rpc's name");
        judge(&server, &method, bytes).await;
    }
    let callers = (0..CALLERS).map(|number| {
        let chance = Rng::with_seed(seed ^ number);
        Caller { chance, methods: wire::methods(), latest: VecDeque::new() }.call(&server, number, end)
    });
    let calls: usize = join_all(callers).await.into_iter().sum();
    println!("{calls} calls");
    assert!(server.is_running());
    assert!(!server.log().contains("panicked"), "{}", server.log());
    let growth = server.resident_bytes().saturating_sub(before);
    assert!(growth < MAX_GROWTH, "{growth} bytes more");

    // It works, and what it kept is sound.
    let queue = server.queue("afterwards");
    queue.enqueue(spec::jobs("x", 3)).await;
    let leased = queue.lease(3).await;
    queue.ack(&leased).await;
    server.kill_and_start().await;
    server.stop().await;
    let checked = task::check(&server.data()).await;
    assert_eq!(checked.code, 0, "{}", checked.stdout);
}

impl Caller {
    /// How many calls it made.
    async fn call(mut self, server: &Sluiced, number: u64, end: Instant) -> usize {
        let mut calls = 0;
        while Instant::now() < end {
            let queue = server.queue(&format!("fuzz-{number}-{calls}"));
            let world = world(&queue).await;
            for _ in 0..CALLS_PER_WORLD {
                if Instant::now() >= end {
                    break;
                }
                let method = self.chance.choice(&self.methods).unwrap().clone();
                let bytes = self.request(&method, &world);
                self.latest.push_back((method.name().to_owned(), bytes.clone()));
                if self.latest.len() > REMEMBERED {
                    self.latest.pop_front();
                }
                if let Some(wrong) = judge(server, &method, bytes).await {
                    let kept = self.keep();
                    panic!("{wrong}: the latest calls are in {}", kept.display());
                }
                calls += 1;
            }
        }
        calls
    }

    /// Writes the latest calls down. Where.
    fn keep(&self) -> PathBuf {
        let directory = corpus_directory();
        fs::create_dir_all(&directory).unwrap();
        for (number, (rpc, bytes)) in self.latest.iter().enumerate() {
            let name = format!("{rpc}-{:08x}-{number}.bin", crc(bytes));
            fs::write(directory.join(name), bytes).unwrap();
        }
        directory
    }

    /// A request that is good in some parts, or none.
    fn request(&mut self, method: &MethodDescriptor, world: &World) -> Bytes {
        let mut message = match self.chance.u8(..4) {
            0 => DynamicMessage::new(method.input()),
            _ => row::good(method, world),
        };
        for _ in 0..self.chance.usize(..4) {
            self.change(&mut message, world, 0);
        }
        let mut bytes = message.encode_to_vec();
        if self.chance.u8(..4) == 0 {
            self.spoil(&mut bytes);
        }
        bytes.into()
    }

    /// Gives a field, of the message or of one within it, another value.
    fn change(&mut self, message: &mut DynamicMessage, world: &World, depth: usize) {
        let fields: Vec<FieldDescriptor> = message.descriptor().fields().collect();
        let Some(field) = self.chance.choice(&fields).cloned() else { return };
        if self.chance.bool() && message.has_field(&field) {
            match message.get_field_mut(&field) {
                Value::Message(inner) => return self.change(inner, world, depth + 1),
                Value::List(items) => {
                    if let Some(inner) = items.first_mut().and_then(Value::as_message_mut) {
                        return self.change(inner, world, depth + 1);
                    }
                }
                _ => {}
            }
        }
        let value = self.field(&field, world, depth);
        message.set_field(&field, value);
    }

    fn field(&mut self, field: &FieldDescriptor, world: &World, depth: usize) -> Value {
        let kind = field.kind();
        if field.is_map() {
            let items = (0..self.chance.usize(..4)).map(|_| {
                let Kind::Message(entry) = &kind else { unreachable!("maps are of messages") };
                let (key, value) = (entry.map_entry_key_field(), entry.map_entry_value_field());
                let key = match self.one(&key.kind(), world, depth) {
                    Value::U64(number) => MapKey::U64(number),
                    Value::String(text) => MapKey::String(text),
                    other => unreachable!("{other:?} is no key of this contract"),
                };
                (key, self.one(&value.kind(), world, depth))
            });
            return Value::Map(items.collect());
        }
        if !field.is_list() {
            return self.one(&kind, world, depth);
        }
        let items = match self.chance.u8(..20) {
            0 => 20_000,
            few => usize::from(few % 4),
        };
        // Many are alike: to make them up costs more than they teach.
        let first = self.one(&kind, world, depth);
        let others = (1..items.min(4)).map(|_| self.one(&kind, world, depth)).collect::<Vec<_>>();
        let rest = std::iter::repeat_n(first.clone(), items.saturating_sub(1 + others.len()));
        Value::List(std::iter::once(first).take(items).chain(others).chain(rest).collect())
    }

    fn one(&mut self, kind: &Kind, world: &World, depth: usize) -> Value {
        match kind {
            Kind::Bool => Value::Bool(self.chance.bool()),
            Kind::Double => Value::F64(f64::from_bits(self.number())),
            Kind::Float => Value::F32(f32::from_bits(self.number() as u32)),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(self.number() as i32),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(self.number() as i64),
            Kind::Uint32 | Kind::Fixed32 => Value::U32(self.number() as u32),
            Kind::Uint64 | Kind::Fixed64 => Value::U64(self.number()),
            Kind::Enum(_) => Value::EnumNumber(match self.chance.bool() {
                true => self.chance.i32(-1..12),
                false => self.number() as i32,
            }),
            Kind::String => Value::String(self.text(world)),
            Kind::Bytes => Value::Bytes(self.bytes().into()),
            Kind::Message(descriptor) => Value::Message(self.message(descriptor, world, depth + 1)),
        }
    }

    fn message(&mut self, descriptor: &MessageDescriptor, world: &World, depth: usize) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        if depth < 5 {
            for _ in 0..self.chance.usize(..4) {
                self.change(&mut message, world, depth);
            }
        }
        message
    }

    fn number(&mut self) -> u64 {
        match self.chance.u8(..4) {
            0 => *self
                .chance
                .choice(&[0, 1, 9, 10, 1_000, 10_000, u64::MAX, 1 << 31, 1 << 32, 1 << 63])
                .unwrap(),
            1 => self.chance.u64(..100),
            2 => self.chance.u64(..).wrapping_neg() >> self.chance.u32(..64),
            _ => self.chance.u64(..),
        }
    }

    fn text(&mut self, world: &World) -> String {
        let known = [&world.queue, &world.leased.0, &world.ready, &world.batch, &world.limit];
        match self.chance.u8(..10) {
            0..4 => (*self.chance.choice(&known).unwrap()).clone(),
            4 => String::new(),
            5 => (*self
                .chance
                .choice(&["a/b/c", "a//b", "*", "*/x*", "..", "\0", "é\u{202e}", "settings", "-1"])
                .unwrap())
            .to_owned(),
            6 => "x".repeat(self.chance.usize(..300)),
            7 => "y/".repeat(self.chance.usize(..100_000)),
            8 => self.number().to_string(),
            _ => (0..self.chance.usize(..40)).map(|_| self.chance.char(..)).collect(),
        }
    }

    fn bytes(&mut self) -> Vec<u8> {
        let len =
            if self.chance.u8(..10) == 0 { self.chance.usize(..2 << 20) } else { self.chance.usize(..64) };
        let mut bytes = vec![0; len];
        self.chance.fill(&mut bytes);
        bytes
    }

    fn spoil(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..self.chance.usize(1..6) {
            let at = self.chance.usize(..=bytes.len());
            match self.chance.u8(..5) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, self.chance.u8(..)),
                2 if at < bytes.len() => drop(bytes.remove(at)),
                3 if bytes.len() < 1 << 20 => bytes.extend_from_within(at..),
                _ if at < bytes.len() => bytes[at] ^= 1 << self.chance.u8(..8),
                _ => {}
            }
        }
    }
}

/// Sends a request. What is wrong with the answer, if anything is.
async fn judge(server: &Sluiced, method: &MethodDescriptor, bytes: Bytes) -> Option<String> {
    let is_message = DynamicMessage::decode(method.input(), bytes.clone()).is_ok();
    // Given up: it waits for something, or answers with a stream that has nothing to say yet.
    let answer = tokio::time::timeout(PATIENCE, wire::send(server.channel(), method, bytes)).await.ok()?;
    let refused = answer.err()?;
    (!is_expected(&refused, is_message)).then(|| format!("{}: {refused:?}", method.name()))
}

/// INTERNAL and UNKNOWN are for bugs. What is no message at all tonic calls INTERNAL.
fn is_expected(refused: &Status, is_message: bool) -> bool {
    match refused.code() {
        Code::Internal => !is_message,
        // The wire's own word for a stream that ended well without a message.
        Code::Unknown => refused.message() == wire::NO_MESSAGE,
        Code::DataLoss | Code::Unimplemented => false,
        _ => true,
    }
}

fn corpus_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/rpc")
}

/// What was worth keeping: the rpc that a file's name begins with, and what it is sent.
fn corpus() -> Vec<(String, Bytes)> {
    let Ok(files) = fs::read_dir(corpus_directory()) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    let of = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        let rpc = name.split_once('-').expect("a file is called after its rpc").0.to_owned();
        (rpc, Bytes::from(fs::read(path).unwrap()))
    };
    paths.iter().map(of).collect()
}

/// Enough to call files apart.
fn crc(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum: u32, byte| sum.rotate_left(5) ^ u32::from(*byte))
}
