//! What is trained for each row of the table.

use anyhow::Result;

use crate::mistake::Mistake;

/// One row of the table.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) name: &'static str,
    /// What is trained, in order; the last is the model of the row.
    pub(super) stages: &'static [Stage],
    /// Steps of sampling that are scored.
    pub(super) steps: &'static [usize],
}

impl Plan {
    /// Folder of the model.
    pub(super) fn model(&self) -> &'static str {
        self.stages.last().map_or("", |stage| stage.folder)
    }
}

/// One training.
#[derive(Debug)]
pub(super) struct Stage {
    /// Folder of the run; stages of one folder are one training, made once.
    pub(super) folder: &'static str,
    pub(super) recipe: &'static str,
    /// Folder of the stage that it starts from.
    pub(super) init: Option<&'static str>,
    /// Share of the time.
    pub(super) share: f64,
    /// The preset's setting for the part of the run that only learns to denoise.
    pub(super) pretrain: Option<&'static str>,
    /// The setting for the steps over which something grows, a tenth of the stage.
    pub(super) warmup: Option<&'static str>,
    pub(super) set: &'static [&'static str],
}

/// What goes on from good weights of its own kind takes smaller steps. CD is better off with those of the preset.
const SMALL_STEPS: &[&str] = &["train.lr=5e-4"];

const TEACHER: Stage = Stage { share: 0.5, ..alone("teacher", "diffusion", None, &[]) };
const TRIG_TEACHER: Stage = Stage {
    share: 0.5,
    ..alone("teacher-trigflow", "diffusion", None, &["model.parameterization=trigflow"])
};
const FIRST_STAGE: Stage =
    Stage { share: 0.5, ..alone("first-stage", "ect", Some("train.ect.pretrain"), &[]) };

const fn alone(
    folder: &'static str,
    recipe: &'static str,
    pretrain: Option<&'static str>,
    set: &'static [&'static str],
) -> Stage {
    Stage { folder, recipe, init: None, share: 1.0, pretrain, warmup: warmup(recipe), set }
}

const fn after(recipe: &'static str, init: &'static str, set: &'static [&'static str]) -> Stage {
    Stage {
        folder: recipe,
        recipe,
        init: Some(init),
        share: 0.5,
        pretrain: None,
        warmup: warmup(recipe),
        set,
    }
}

/// Continuous time needs its tangent to grow slowly: over a part of the run, however short the run is.
const fn warmup(recipe: &str) -> Option<&'static str> {
    match recipe.as_bytes() {
        b"sct" | b"scd" => Some("train.scm.tangent_warmup_steps"),
        _ => None,
    }
}

/// All rows.
pub(super) const PLANS: &[Plan] = &[
    Plan { name: "diffusion", stages: &[alone("diffusion", "diffusion", None, &[])], steps: &[18] },
    Plan { name: "ct", stages: &[alone("ct", "ct", None, &[])], steps: &[1, 2] },
    Plan { name: "ict", stages: &[alone("ict", "ict", None, &[])], steps: &[1, 2] },
    Plan { name: "ect", stages: &[alone("ect", "ect", Some("train.ect.pretrain"), &[])], steps: &[1, 2] },
    Plan { name: "sct", stages: &[alone("sct", "sct", Some("train.scm.pretrain"), &[])], steps: &[1, 2] },
    Plan { name: "cd", stages: &[TEACHER, after("cd", "teacher", &[])], steps: &[1, 2] },
    Plan {
        name: "scd",
        stages: &[TRIG_TEACHER, after("scd", "teacher-trigflow", SMALL_STEPS)],
        steps: &[1, 2],
    },
    Plan { name: "tcm", stages: &[FIRST_STAGE, after("tcm", "first-stage", SMALL_STEPS)], steps: &[1] },
];

/// The plans of these names, or all.
pub(super) fn chosen(names: &[String]) -> Result<Vec<&'static Plan>> {
    if names.is_empty() {
        return Ok(PLANS.iter().collect());
    }
    let find = |name: &String| {
        PLANS.iter().find(|plan| plan.name == name).ok_or_else(|| {
            let known: Vec<&str> = PLANS.iter().map(|plan| plan.name).collect();
            Mistake(format!("--recipes {name}: expected some of {}", known.join(", "))).into()
        })
    };
    names.iter().map(find).collect()
}
