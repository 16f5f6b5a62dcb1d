from search.verdict.greedy import choose_runs


def test_a_run_is_added_only_if_the_loss_falls() -> None:
    losses = {(0,): 0.8, (0, 1): 0.8, (0, 2): 0.9, (0, 3): 0.7}
    assert choose_runs([0, 1, 2, 3], tuple, losses.__getitem__, most=9) == ([0, 3], (0, 3))


def test_no_more_runs_are_chosen_than_allowed_nor_tried_when_it_is_late() -> None:
    def loss_of(runs: list[int]) -> float:
        return 1 / len(runs)

    assert choose_runs([0, 1, 2], list, loss_of, most=2)[0] == [0, 1]
    assert choose_runs([0, 1, 2], list, loss_of, most=3, is_late=lambda: True)[0] == [0]
