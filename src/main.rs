//! stand-in until the command line is merged
use clap::Parser;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Demo(mqtt_kafka_bridge::demo::DemoArgs),
}

fn main() -> std::process::ExitCode {
    let Command::Demo(args) = Cli::parse().command;
    mqtt_kafka_bridge::demo::run(&args)
}
