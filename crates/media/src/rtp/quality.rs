//! Estimate of the call quality (ITU-T G.107, simplified for G.711).

/// Transmission rating of a call without impairment (ITU-T G.107, default values).
const MAX_RATING: f64 = 93.2;
/// Robustness of G.711 with packet loss concealment against random loss (ITU-T G.113, appendix I).
const LOSS_ROBUSTNESS: f64 = 25.1;

/// Returns the rating factor R, 0 to 93.2, of G.711. `delay` is the one-way delay in milliseconds,
/// and `loss` is the share of lost packets, 0.0 to 1.0. Echo, noise and loudness have their default
/// values.
pub fn r_factor(delay: f64, loss: f64) -> f64 {
    let delay_beyond_limit = (delay - 177.3).max(0.0);
    let delay_impairment = 0.024 * delay.max(0.0) + 0.11 * delay_beyond_limit;
    let percent = loss.clamp(0.0, 1.0) * 100.0;
    let loss_impairment = 95.0 * percent / (percent + LOSS_ROBUSTNESS);
    (MAX_RATING - delay_impairment - loss_impairment).clamp(0.0, MAX_RATING)
}

/// Returns the estimated mean opinion score, 1.0 to 4.5 (ITU-T G.107, annex B). The arguments are
/// those of [`r_factor`].
pub fn mean_opinion_score(delay: f64, loss: f64) -> f64 {
    let rating = r_factor(delay, loss);
    let score = 1.0 + 0.035 * rating + rating * (rating - 60.0) * (100.0 - rating) * 7e-6;
    score.clamp(1.0, 4.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_matches_known_points_of_the_model() {
        assert!((mean_opinion_score(0.0, 0.0) - 4.41).abs() < 0.01);
        assert!((r_factor(150.0, 0.0) - 89.6).abs() < 0.01);
        assert!((r_factor(0.0, 0.01) - 89.56).abs() < 0.01);
    }

    #[test]
    fn more_loss_or_delay_never_improves_the_score() {
        for percent in 0..100 {
            let loss = f64::from(percent) / 100.0;
            assert!(mean_opinion_score(20.0, loss) >= mean_opinion_score(20.0, loss + 0.01));
            assert!(
                mean_opinion_score(f64::from(percent) * 10.0, 0.0)
                    >= mean_opinion_score(f64::from(percent + 1) * 10.0, 0.0)
            );
        }
        assert_eq!(mean_opinion_score(10_000.0, 1.0), 1.0);
    }
}
