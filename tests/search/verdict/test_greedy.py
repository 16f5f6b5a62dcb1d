from search.verdict.greedy import choose_runs


def test_runs_are_added_while_the_value_does_not_fall() -> None:
    values = {(0,): 0.8, (0, 1): 0.8, (0, 1, 2): 0.7, (0, 1, 3): 0.9}
    assert choose_runs([0, 1, 2, 3], lambda runs: values[tuple(runs)], most=9, strictly=False) == ([0, 1, 3], 0.9)


def test_a_member_that_changes_nothing_is_left_out_where_it_costs() -> None:
    values = {(0,): 0.8, (0, 1): 0.8, (0, 2): 0.85}
    assert choose_runs([0, 1, 2], lambda runs: values[tuple(runs)], most=9, strictly=True) == ([0, 2], 0.85)


def test_no_more_runs_are_chosen_than_allowed_nor_tried_when_it_is_late() -> None:
    assert choose_runs([0, 1, 2], len, most=2, strictly=True)[0] == [0, 1]
    assert choose_runs([0, 1, 2], len, most=3, strictly=True, is_late=lambda: True)[0] == [0]
