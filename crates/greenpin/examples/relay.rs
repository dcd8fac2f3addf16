//! Prints the cost of bridged calls: `cargo run --release --example relay [CALLS] [SECONDS] [GATHER_MICROSECONDS]`.
#![allow(clippy::print_stdout)]

use std::{env, error::Error, time::Duration};

use greenpin::calls::media::{MediaSettings, relay_bench};

fn main() -> Result<(), Box<dyn Error>> {
    let number = |index, default| {
        env::args()
            .nth(index)
            .map_or(Ok(default), |text| text.parse::<u32>())
    };
    let (calls, seconds, gather) = (number(1, 100)?, number(2, 10)?, number(3, 2000)?);
    let settings = MediaSettings {
        gather: Duration::from_micros(u64::from(gather)),
        ..MediaSettings::default()
    };
    let folder = tempfile::tempdir()?;
    let figures = relay_bench(&settings, calls as usize, seconds, folder.path())?;
    println!("calls          {}", figures.calls);
    println!("bare relay     {:.1} % of a core", figures.bare_cpu);
    println!("bridged        {:.1} % of a core", figures.bridged_cpu);
    println!("recorded       {:.1} % of a core", figures.recorded_cpu);
    println!("Opus to G.711  {:.1} % of a core", figures.transcoded_cpu);
    println!("delivered      {:.3} %", figures.delivered * 100.0);
    println!("memory a call  {} octets", figures.memory);
    Ok(())
}
