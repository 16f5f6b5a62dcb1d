from search.verdict.greedy import choose_runs


def test_a_run_is_added_only_if_what_is_made_gets_better() -> None:
    values = {(0,): 0.8, (0, 1): 0.8, (0, 2): 0.7, (0, 3): 0.9}
    better = choose_runs([0, 1, 2, 3], tuple, lambda made, best: values[made] > values[best], most=9)
    assert better == ([0, 3], (0, 3))


def test_no_more_runs_are_chosen_than_allowed_nor_tried_when_it_is_late() -> None:
    def always(made: list[int], best: list[int]) -> bool:
        return True

    assert choose_runs([0, 1, 2], list, always, most=2)[0] == [0, 1]
    assert choose_runs([0, 1, 2], list, always, most=3, is_late=lambda: True)[0] == [0]
