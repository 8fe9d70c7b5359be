//! The word that was probably meant.

// Letters to insert, delete, replace or swap with their neighbour.
use strsim::osa_distance as distance;

/// The candidate nearest to `word`, if it is near: at most a third of its letters differ.
pub(super) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|&(distance, candidate)| 3 * distance <= word.len().max(candidate.len()))
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in
            [("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("setps", "steps", 1), ("", "", 0)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn far_words_are_not_suggested() {
        assert_eq!(nearest("step", ["steps", "seed"].into_iter()), Some("steps"));
        assert_eq!(nearest("colour", ["steps", "seed"].into_iter()), None);
    }
}
