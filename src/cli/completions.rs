//! `shelfd completions`: what a shell needs to complete verbs and options, generated from the same tree that parses them.
//! Rejected: scripts kept by hand, which are wrong by the next option.

use clap_complete::Shell;

use super::Context;
use super::exit::Failure;

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  shelfd completions bash > /etc/bash_completion.d/shelfd
  shelfd completions zsh  > ~/.zfunc/_shelfd
  shelfd completions fish > ~/.config/fish/completions/shelfd.fish")]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Prints the completions.
pub fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "shelfd", &mut script);
    context.out.raw(&script)?;
    Ok(())
}
