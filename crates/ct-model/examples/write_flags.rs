//! Writes the recorded networks of every block type and flag as model folders, for diffusers to read.
//!
//! ```text
//! cargo run -p ct-model --example write_flags -- OUT
//! python crates/ct-model/tests/golden/unet_flags/read_back.py OUT
//! ```

#![expect(clippy::print_stdout, reason = "an example may print")]

use std::collections::HashMap;
use std::error::Error;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use ct_model::folder::{self, Card};
use ct_model::{ConsistencyModel, NetworkConfig, NoiseRange, Params, UNet2DConfig};
use safetensors::SafeTensors;

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(std::env::args().nth(1).ok_or("the folder to write to is missing")?);
    let recordings = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/unet_flags");
    for entry in std::fs::read_dir(recordings)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "safetensors") {
            let name = path.file_stem().unwrap_or_default();
            write(&path, &out.join(name))?;
            println!("{}", name.display());
        }
    }
    Ok(())
}

fn write(path: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    let bytes = std::fs::read(path)?;
    let (_, header) = SafeTensors::read_metadata(&bytes)?;
    let config =
        header.metadata().as_ref().and_then(|notes| notes.get("config")).ok_or("no configuration")?;
    let config: UNet2DConfig = serde_json::from_str(config)?;
    let network = NetworkConfig::from(config).build()?;
    let recorded = folder::read_tensors(path, &Device::Cpu)?;
    let weights: HashMap<String, Tensor> = recorded
        .into_iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix("weights.")?.to_owned(), tensor)))
        .collect();
    let params = Params::from_tensors(network.layout(), weights, &Device::Cpu)?
        .map_err(|problems| problems.join("\n"))?;
    let model = ConsistencyModel::new(network, params, NoiseRange::default())?;
    Ok(folder::save(out, &model, &Card::default())?)
}
