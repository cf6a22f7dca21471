//! Paths of fields: `jobs[0].retry_policy.jitter`.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};

/// Every field of a message and of the messages in it, in the form `jobs.retry_policy.jitter`. What
/// comes from elsewhere (spans, times, masks) and maps count as one field.
pub(crate) fn paths(message: &MessageDescriptor) -> Vec<String> {
    let mut paths = Vec::new();
    for field in message.fields() {
        paths.push(field.name().to_owned());
        if let Some(inner) = own_message(&field) {
            paths.extend(self::paths(&inner).into_iter().map(|path| format!("{}.{path}", field.name())));
        }
    }
    paths
}

/// `jobs[0].key` as `jobs.key`.
pub(crate) fn without_indices(path: &str) -> String {
    path.replace("[0]", "")
}

/// The value of a field; its default where it is not set.
pub(crate) fn get(message: &DynamicMessage, path: &str) -> Value {
    let (first, rest) = split(path);
    let value = message.get_field_by_name(name(first)).expect("paths name fields").into_owned();
    match rest {
        None => value,
        Some(rest) => get(item(&value, first).as_message().expect("paths go through messages"), rest),
    }
}

/// Sets a field, making the messages on the way to it.
pub(crate) fn set(message: &mut DynamicMessage, path: &str, value: Value) {
    let (first, rest) = split(path);
    let Some(rest) = rest else {
        return message.set_field_by_name(first, value);
    };
    let holder = message.get_field_by_name_mut(name(first)).expect("paths name fields");
    let inner = match holder {
        Value::List(items) => items.first_mut().expect("good requests have an item"),
        inner => inner,
    };
    set(inner.as_message_mut().expect("paths go through messages"), rest, value);
}

fn split(path: &str) -> (&str, Option<&str>) {
    path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)))
}

fn name(part: &str) -> &str {
    part.trim_end_matches("[0]")
}

fn item<'a>(value: &'a Value, part: &str) -> &'a Value {
    if part.ends_with("[0]") {
        value.as_list().and_then(|items| items.first()).expect("good requests have an item")
    } else {
        value
    }
}

fn own_message(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    match field.kind() {
        Kind::Message(inner) if !field.is_map() && inner.package_name() == "sluice.v1" => Some(inner),
        _ => None,
    }
}
