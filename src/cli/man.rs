//! `shelfd man`: the manual, generated from the same tree that parses the command line. Rejected: pages kept by hand, which
//! are wrong by the next option.

use std::fs;
use std::path::{Path, PathBuf};

use super::Context;
use super::exit::{Code, Failure};

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  shelfd man | man -l -                      read it now
  shelfd man /usr/local/share/man/man1       write shelfd.1 and a page for each verb")]
pub struct Args {
    /// Write one page for each verb into this directory (made when it is missing)
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Prints or writes the manual.
pub fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    match &args.dir {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(super::command()).render(&mut page)?;
            context.out.raw(&page)?;
        }
        Some(dir) => {
            let failed = |error: std::io::Error| {
                Failure::new(Code::Io, format!("cannot write the manual to {}: {error}", dir.display()))
                    .with_help("name a directory that you may write to")
            };
            fs::create_dir_all(dir).map_err(failed)?;
            let mut command = super::command().disable_help_subcommand(true);
            command.build();
            write_pages(&command, dir).map_err(failed)?;
        }
    }
    Ok(())
}

/// One page for the command and one for each verb below it.
fn write_pages(command: &clap::Command, dir: &Path) -> std::io::Result<()> {
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        write_pages(verb, dir)?;
    }
    let man = clap_mangen::Man::new(command.clone());
    let mut page = Vec::new();
    man.render(&mut page)?;
    fs::write(dir.join(man.get_filename()), page)
}
