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
            context
                .out
                .raw(&render(&clap_mangen::Man::new(super::command()), &super::command())?)?;
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
    fs::write(dir.join(man.get_filename()), render(&man, command)?)
}

/// One page. The examples keep their lines, which the generator's own section would fill into a paragraph.
fn render(man: &clap_mangen::Man, command: &clap::Command) -> std::io::Result<Vec<u8>> {
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(examples) = command.get_after_help() {
        page.extend_from_slice(literal(&examples.to_string()).as_bytes());
    }
    if command.get_version().is_some() {
        man.render_version_section(&mut page)?;
    }
    Ok(page)
}

/// A section of text as it stands, for roff: unfilled, and with nothing in it that roff would take for its own.
fn literal(text: &str) -> String {
    let mut section = ".SH EXAMPLES\n.nf\n".to_owned();
    for line in text.strip_prefix("Examples:\n").unwrap_or(text).lines() {
        if line.starts_with(['.', '\'']) {
            section.push_str("\\&");
        }
        section.push_str(&line.replace('\\', "\\(rs").replace('-', "\\-").replace('\'', "\\(aq"));
        section.push('\n');
    }
    section + ".fi\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roff_takes_nothing_in_the_examples_for_its_own() {
        let expected = ".SH EXAMPLES\n.nf\n  a \\-\\-b \\(aqc\\(aq\n\\&.x \\(rs\n.fi\n";
        assert_eq!(literal("Examples:\n  a --b 'c'\n.x \\"), expected);
    }
}
