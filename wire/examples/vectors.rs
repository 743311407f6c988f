//! Writes the golden vectors anew: `cargo run -p catraca-wire --example vectors`. Only for a
//! deliberate change of a format; a test asserts that the committed files say what the code does.

#[path = "../tests/support/vectors/mod.rs"]
mod vectors;

fn main() -> std::io::Result<()> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    for (name, value) in [("frames.json", vectors::frames()), ("log.json", vectors::log())] {
        let path = folder.join(name);
        std::fs::write(&path, format!("{value:#}\n"))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}
