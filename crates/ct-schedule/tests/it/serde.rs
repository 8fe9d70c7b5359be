//! Reading and writing configurations.

use ct_schedule::{
    Decay, EctMapping, EctStages, EmaProfile, LearningRate, NumSigmas, Preconditioning, SigmaDistribution,
    TargetDecay, TruncatedStudentT, Weighting,
};
use serde::{Serialize, de::DeserializeOwned};

fn parse<T: DeserializeOwned>(json: &str) -> Result<T, String> {
    serde_json::from_str(json).map_err(|e| e.to_string())
}

fn round_trip<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) {
    let json = serde_json::to_string(value).map_err(|e| e.to_string());
    let read = json.as_deref().map_err(Clone::clone).and_then(parse::<T>);
    assert_eq!(read.as_ref(), Ok(value), "{json:?}");
}

#[test]
fn values_survive() {
    round_trip(&NumSigmas::ict(10, 1280).unwrap());
    round_trip(&TargetDecay::ct_openai_compat(0.95, 2).unwrap());
    round_trip(&EctMapping::sigmoid(4.0).unwrap().with_ratio_limit(0.999).unwrap());
    round_trip(&EctStages::new(0.5, 4).unwrap());
    round_trip(&EmaProfile::half_life(5e5).unwrap());
    round_trip(&EmaProfile::power(0.1).unwrap());
    round_trip(&LearningRate::new(1e-4, 100, Decay::InverseSqrt { ref_steps: 70_000 }).unwrap());
    round_trip(&Preconditioning::consistency(0.002, 0.5).unwrap());
    round_trip(&Weighting::InverseDelta);
    round_trip(&SigmaDistribution::TruncatedStudentT(
        TruncatedStudentT::new(0.0, 0.2, 0.01, 1.0, 80.0).unwrap(),
    ));
}

#[test]
fn short_forms() {
    assert_eq!(parse(r#"{"kind": "sigmoid", "q": 2}"#), Ok(EctMapping::sigmoid(2.0).unwrap()));
    assert_eq!(parse(r#"{"lr": 0.0001}"#), Ok(LearningRate::constant(1e-4).unwrap()));
    assert_eq!(parse(r#"{"num_stages": 8}"#), Ok(EctStages::new(0.0, 8).unwrap()));
    assert_eq!(parse(r#""snrpk""#), Ok(Weighting::Karras));
}

#[test]
fn what_is_read_is_validated() {
    let error = parse::<NumSigmas>(r#"{"kind": "ct", "s0": 1, "s1": 150}"#).unwrap_err();
    assert!(error.contains("s0 must be at least 2, got 1"), "{error}");
    let error = parse::<SigmaDistribution>(r#"{"kind": "lognormal", "p_mean": 0, "p_std": -1}"#).unwrap_err();
    assert!(error.contains("p_std must be positive"), "{error}");
}

#[test]
fn unknown_fields_are_refused() {
    assert!(parse::<NumSigmas>(r#"{"kind": "ct", "s0": 2, "s1": 150, "s2": 1}"#).is_err());
    assert!(parse::<SigmaDistribution>(r#"{"kind": "lognormal", "p_mean": 0, "p_std": 1, "x": 1}"#).is_err());
    assert!(parse::<LearningRate>(r#"{"lr": 1, "warmup": 5}"#).is_err());
}
