//! sluiced with a bug built in: by `SLUICE_PLANTED` which, else it answers before the disk has what it says.

#[path = "sluiced.rs"]
mod sluiced;

fn main() -> std::process::ExitCode {
    sluiced::main()
}
