//! The manual page: one page for the program and all its subcommands.

use clap::{Arg, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

/// The page in roff, for section 1 of the manual.
pub(crate) fn page(command: Command) -> Vec<u8> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut page = Vec::new();
    let head = Man::new(command.clone()).manual("User Commands");
    // The writer is memory, and memory does not fail.
    let _ = head.render_title(&mut page);
    let _ = head.render_name_section(&mut page);
    let _ = head.render_synopsis_section(&mut page);
    let _ = head.render_description_section(&mut page);
    let _ = rest(&command).to_writer(&mut page);
    page
}

/// What follows the description: the subcommands with their options, examples and exit codes, files.
fn rest(command: &Command) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["COMMANDS"]);
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        roff.control("SS", [subcommand.get_name()]);
        roff.text([roman(text_of(subcommand.get_about()))]);
        for argument in subcommand.get_arguments().filter(|argument| is_told(argument)) {
            roff.control("TP", []);
            roff.text(form(argument));
            roff.text([roman(text_of(argument.get_help()))]);
        }
    }
    roff.control("SH", ["EXAMPLES AND EXIT CODES"]);
    // Not filled: its lines are columns.
    roff.control("nf", []);
    for line in text_of(command.get_after_help()).lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    roff.control("SH", ["FILES"]);
    roff.control("TP", []);
    roff.text([bold("/etc/mqtt-kafka-bridge/config.toml")]);
    roff.text([roman("The configuration of the packaged service. Each key is explained there.")]);
    roff
}

/// Whether an argument belongs to its subcommand alone, and is shown.
fn is_told(argument: &Arg) -> bool {
    !argument.is_hide_set() && !["help", "version"].contains(&argument.get_id().as_str())
}

/// `-c, --config FILE`, or `SHELL` for an argument by position; with the default.
fn form(argument: &Arg) -> Vec<Inline> {
    let mut words = Vec::new();
    if let Some(short) = argument.get_short() {
        words.extend([bold(format!("-{short}")), roman(", ")]);
    }
    if let Some(long) = argument.get_long() {
        words.push(bold(format!("--{long}")));
    }
    if argument.is_positional() || argument.get_action().takes_values() {
        let names = argument.get_value_names().unwrap_or_default();
        words.extend(names.iter().flat_map(|name| [roman(" "), italic(name.as_str())]));
    }
    let defaults = argument.get_default_values();
    if let [default] = defaults
        && argument.get_action().takes_values()
    {
        words.push(roman(format!(" [default: {}]", default.to_string_lossy())));
    }
    words
}

fn text_of(styled: Option<&clap::builder::StyledStr>) -> String {
    styled.map(ToString::to_string).unwrap_or_default()
}
