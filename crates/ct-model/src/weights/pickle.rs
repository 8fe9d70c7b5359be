//! State dicts of PyTorch.
//!
//! They are pickles, programs for a small machine that can call any function of Python.
//! candle's reader calls nothing: it only notes what would be called.
//! What is noted is looked through here, and a file that calls more than it takes to build tensors is refused.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use candle_core::pickle::{Object, PthTensors, Stack};
use candle_core::{Device, Tensor};

use super::{format_error, io_error};
use crate::{Error, Result};

/// What a state dict calls to build its tensors.
const REBUILD: [(&str, &str); 3] = [
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch._tensor", "_rebuild_from_type_v2"),
];
/// Where checkpoints keep the state dict, if they hold more than it.
const KEYS: [&str; 7] = ["state_dict", "model_state_dict", "model", "ema", "ema_state_dict", "unet", "net"];
/// The program of a file is short, and the numbers are not in it.
const MAX_PROGRAM_BYTES: u64 = 1 << 28;

/// Reads all tensors of the state dict at `path`.
pub(crate) fn read(path: &Path, device: &Device) -> Result<HashMap<String, Tensor>> {
    let program = Program::read(path)?;
    program.refuse_calls(&program.object)?;
    let (key, names) = program.state_dict()?;
    let candle = |source: candle_core::Error| format_error(path, format!("not a whole state dict: {source}"));
    let file = PthTensors::new(path, key).map_err(candle)?;
    let mut tensors = HashMap::with_capacity(names.len());
    let mut problems = Vec::new();
    for name in names {
        match file.get(name).map_err(candle)? {
            Some(tensor) => drop(tensors.insert(name.to_owned(), tensor.to_device(device)?)),
            None => problems.push(format!(
                "{name}: its numbers are of a type that cannot be read, expected f32, f16 or bf16"
            )),
        }
    }
    if problems.is_empty() { Ok(tensors) } else { Err(Error::Weights { path: path.to_path_buf(), problems }) }
}

/// What the pickle of a file would build.
struct Program<'a> {
    path: &'a Path,
    len: u64,
    object: Object,
}

impl<'a> Program<'a> {
    fn read(path: &'a Path) -> Result<Self> {
        let file = File::open(path).map_err(|source| io_error(path, source))?;
        let len = file.metadata().map_err(|source| io_error(path, source))?.len();
        let not_zip = |source: &dyn std::fmt::Display| {
            format_error(
                path,
                format!(
                    "not a whole file of PyTorch 1.6 or later ({source}): it may have been cut short, or was written by an older release; load it there and save it again, best as safetensors"
                ),
            )
        };
        let mut zip = zip::ZipArchive::new(BufReader::new(file)).map_err(|source| not_zip(&source))?;
        let names: Vec<String> =
            zip.file_names().filter_map(|name| name.ok().map(std::borrow::Cow::into_owned)).collect();
        let is_program = |name: &&String| name.ends_with("data.pkl");
        let mut programs = names.iter().filter(is_program);
        let (Some(name), None) = (programs.next(), programs.next()) else {
            return Err(not_zip(&"it does not hold one data.pkl"));
        };
        let entry = zip.by_name(name).map_err(|source| not_zip(&source))?;
        let mut bytes = Vec::new();
        entry.take(MAX_PROGRAM_BYTES).read_to_end(&mut bytes).map_err(|source| not_zip(&source))?;
        let mut stack = Stack::empty();
        let object = stack.read_loop(&mut bytes.as_slice()).and_then(|()| stack.finalize());
        let object = object.map_err(|source| {
            format_error(path, format!("its pickle is no plain state dict ({source}); nothing of it was run"))
        })?;
        Ok(Self { path, len, object })
    }

    /// Refuses what calls anything but the functions that build tensors.
    fn refuse_calls(&self, object: &Object) -> Result<()> {
        match object {
            Object::Tuple(all) | Object::List(all) => {
                all.iter().try_for_each(|object| self.refuse_calls(object))
            }
            Object::Dict(pairs) => pairs.iter().try_for_each(|(key, value)| {
                self.refuse_calls(key)?;
                self.refuse_calls(value)
            }),
            Object::PersistentLoad(id) => self.refuse_calls(id),
            Object::Reduce { callable, args } => {
                match &**callable {
                    Object::Class { module_name, class_name }
                        if REBUILD.contains(&(module_name.as_str(), class_name.as_str())) => {}
                    Object::Class { module_name, class_name } => {
                        return Err(self.refused(&format!("{module_name}.{class_name}")));
                    }
                    _ => return Err(self.refused("what it makes itself")),
                }
                self.refuse_calls(args)
            }
            Object::Build { callable, args } => {
                self.refuse_calls(callable)?;
                self.refuse_calls(args)?;
                Err(self.refused("the __setstate__ of an object"))
            }
            _ => Ok(()),
        }
    }

    fn refused(&self, what: &str) -> Error {
        format_error(
            self.path,
            format!(
                "its pickle wants to call {what}, and what it calls could be any program: it was refused and nothing was run; have its author save the state dict alone, best as safetensors"
            ),
        )
    }

    /// Where the state dict is, and the names of its tensors.
    fn state_dict(&self) -> Result<(Option<&'static str>, Vec<&str>)> {
        let names = self.tensor_names(&self.object)?;
        if !names.is_empty() {
            return Ok((None, names));
        }
        let Object::Dict(pairs) = &self.object else { return Err(self.no_state_dict()) };
        for key in KEYS {
            let entry = pairs.iter().find(|(name, _)| matches!(name, Object::Unicode(name) if name == key));
            let names = entry.map_or(Ok(Vec::new()), |(_, value)| self.tensor_names(value))?;
            if !names.is_empty() {
                return Ok((Some(key), names));
            }
        }
        Err(self.no_state_dict())
    }

    fn no_state_dict(&self) -> Error {
        format_error(
            self.path,
            format!("it holds no tensors, neither by themselves nor as one of {}", KEYS.join(", ")),
        )
    }

    fn tensor_names<'b>(&self, object: &'b Object) -> Result<Vec<&'b str>> {
        let Object::Dict(pairs) = object else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        for (name, value) in pairs {
            if let (Object::Unicode(name), Object::Reduce { callable, args }) = (name, value) {
                if !self.is_sound(callable, args) {
                    return Err(format_error(self.path, format!("{name} is described as no tensor can be")));
                }
                names.push(name.as_str());
            }
        }
        Ok(names)
    }

    /// Whether candle's reader, which takes the arguments as they should be, can be given these.
    fn is_sound(&self, callable: &Object, args: &Object) -> bool {
        let (Object::Class { class_name, .. }, Object::Tuple(args)) = (callable, args) else { return false };
        match (class_name.as_str(), args.as_slice()) {
            // The tensor, and what else a parameter has.
            ("_rebuild_parameter", [Object::Reduce { callable, args }, ..]) => self.is_sound(callable, args),
            // The function, the type, the function's arguments, the state.
            ("_rebuild_from_type_v2", [function, _, args, ..]) => self.is_sound(function, args),
            // The storage, the place in it, size, stride.
            (
                "_rebuild_tensor_v2",
                [Object::PersistentLoad(storage), start, Object::Tuple(size), Object::Tuple(stride), ..],
            ) => {
                let Object::Tuple(storage) = &**storage else { return false };
                // ("storage", its type, its file, its device, its length).
                let (Some(Object::Unicode(_)), Some(len)) = (storage.get(2), storage.get(4).and_then(whole))
                else {
                    return false;
                };
                let elements = size.iter().map(whole).try_fold(1u64, |all, size| all.checked_mul(size?));
                let end =
                    elements.zip(whole(start)).and_then(|(elements, start)| elements.checked_add(start));
                end.is_some_and(|end| end <= len && end <= self.len)
                    && stride.len() == size.len()
                    && stride.iter().all(|stride| whole(stride).is_some())
            }
            _ => false,
        }
    }
}

fn whole(object: &Object) -> Option<u64> {
    match object {
        Object::Int(number) => u64::try_from(*number).ok(),
        Object::Long(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}
