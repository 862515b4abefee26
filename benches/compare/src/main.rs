//! See [`compare::main`].

fn main() -> std::process::ExitCode {
    compare::main()
}
