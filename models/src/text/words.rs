//! Fixed word vectors: the text encoder of the small recipes.

use super::{EncodeError, TextEncoder};
use crate::noise::{Noise, Purpose, key_of};

/// One embedding per word: a fixed random vector of the word plus a sinusoidal code of its place in
/// the sentence.
///
/// Any word has a vector, so a folder of clips may use any language; words that training never saw
/// carry no meaning.
#[derive(Debug, Clone, Copy)]
pub struct WordVectors {
    /// Embeddings per prompt (L): the longest prompt in words.
    pub length: usize,
    /// Width of an embedding.
    pub width: usize,
}

impl TextEncoder for WordVectors {
    fn shape(&self) -> [usize; 2] {
        [self.length, self.width]
    }

    fn encode(&self, prompt: &str) -> Result<Vec<f32>, EncodeError> {
        let words: Vec<String> = prompt.split_whitespace().map(str::to_lowercase).collect();
        if words.is_empty() || words.len() > self.length {
            return Err(EncodeError::Words {
                prompt: prompt.to_string(),
                words: words.len(),
                length: self.length,
            });
        }
        let mut embeddings = vec![0.0; self.length * self.width];
        for (place, (word, embedding)) in words
            .iter()
            .zip(embeddings.chunks_mut(self.width))
            .enumerate()
        {
            let vector = Noise::new(0, Purpose::Words, 0, key_of(word)).normals(self.width);
            for (index, (value, component)) in embedding.iter_mut().zip(vector).enumerate() {
                let angle =
                    place as f64 * libm::pow(100.0, -((index / 2 * 2) as f64) / self.width as f64);
                let code = if index.is_multiple_of(2) {
                    libm::sin(angle)
                } else {
                    libm::cos(angle)
                };
                *value = component + code as f32;
            }
        }
        Ok(embeddings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_keeps_its_vector_and_its_place_shows() {
        let words = WordVectors {
            length: 4,
            width: 8,
        };
        let once = words.encode("red ball").unwrap();
        let again = words.encode("Red BALL").unwrap();
        let swapped = words.encode("ball red").unwrap();
        assert_eq!(once, again);
        assert_ne!(once[..8], swapped[8..16]);
        assert!(once[16..].iter().all(|&value| value == 0.0));
        assert!(words.encode("one two three four five").is_err());
        assert!(words.encode(" ").is_err());
    }
}
