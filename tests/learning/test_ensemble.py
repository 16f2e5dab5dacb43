"""Several networks in one detector."""

import numpy as np
import pytest

from skae._learning import _trainer


@pytest.fixture(scope="module")
def ensemble(make_detector, correlated_rows):
    return make_detector(n_estimators=3).fit(correlated_rows)


def test_first_network_is_the_one_of_a_single_detector(
    ensemble, make_detector, correlated_rows
):
    single = make_detector().fit(correlated_rows)
    np.testing.assert_array_equal(
        ensemble.transform(correlated_rows)[:, :2], single.transform(correlated_rows)
    )


def test_score_averages_the_errors_not_the_reconstructions(ensemble, correlated_rows):
    """An average error is never below the error of the average (Jensen)."""
    errors = np.abs(correlated_rows - ensemble.reconstruct(correlated_rows))
    error_of_average = (errors / correlated_rows.std(axis=0)).mean(axis=1)
    average_error = -ensemble.score_samples(correlated_rows)
    assert (average_error >= error_of_average - 1e-12).all()
    assert (average_error > error_of_average + 1e-6).any()


def test_codes_are_concatenated_and_named(ensemble, correlated_rows):
    assert ensemble.transform(correlated_rows).shape == (200, 6)
    assert len(ensemble.get_feature_names_out()) == 6
    with pytest.raises(ValueError, match="X has 2 columns, but the code .* has 6"):
        ensemble.inverse_transform(np.zeros((1, 2)))


def test_decoded_codes_are_the_reconstruction(ensemble, correlated_rows):
    np.testing.assert_allclose(
        ensemble.inverse_transform(ensemble.transform(correlated_rows)),
        ensemble.reconstruct(correlated_rows),
        rtol=1e-12,
    )


def test_keras_models_give_the_average(ensemble, correlated_rows):
    spread = np.ptp(correlated_rows, axis=0)
    codes = ensemble.transform(correlated_rows)
    for actual, expected in [
        (ensemble.model_(correlated_rows), ensemble.reconstruct(correlated_rows)),
        (ensemble.decoder_(codes), ensemble.reconstruct(correlated_rows)),
    ]:
        assert (np.abs(np.asarray(actual) - expected) < 1e-5 * spread).all()
    difference = np.asarray(ensemble.encoder_(correlated_rows)) - codes
    assert np.abs(difference).max() < 1e-5 * np.ptp(codes)


def test_networks_share_one_compilation(monkeypatch, make_detector, correlated_rows):
    monkeypatch.setattr(_trainer, "_idle_trainers", idle := [])
    make_detector(n_estimators=3).fit(correlated_rows)
    assert len(idle) == 1


def test_curves_are_averages_over_the_networks_still_trained(
    make_detector, correlated_rows
):
    parameters = {"early_stopping": True, "epochs": 400, "learning_rate": 0.05}
    stopped = make_detector(n_estimators=3, **parameters).fit(correlated_rows)
    assert len(stopped.loss_curve_) == len(stopped.validation_loss_curve_)
    assert stopped.n_iter_ == len(stopped.loss_curve_) < 400


def test_networks_differ_and_their_scores_are_steadier(make_detector, correlated_rows):
    def spread_over_seeds(n_estimators):
        scores = [
            make_detector(n_estimators=n_estimators, random_state=seed)
            .fit(correlated_rows)
            .score_samples(correlated_rows)
            for seed in range(5)
        ]
        return np.std(scores, axis=0).mean()

    assert spread_over_seeds(5) < 0.7 * spread_over_seeds(1)


def test_one_bar_shows_all_networks(make_detector, correlated_rows, capfd):
    make_detector(n_estimators=2, verbose=1).fit(correlated_rows)
    out, _ = capfd.readouterr()
    assert "70/70" in out  # 2 networks, 5 epochs, 7 updates
    assert out.count("\n") == 1


def test_one_bar_ends_its_line_when_training_stops_early(
    make_detector, correlated_rows, capfd
):
    make_detector(early_stopping=True, verbose=1, epochs=400, tol=0.1).fit(
        correlated_rows
    )
    out, _ = capfd.readouterr()
    assert out.endswith("\n") and out.count("\n") == 1
