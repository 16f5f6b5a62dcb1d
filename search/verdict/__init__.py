"""What came of a study: the finalists and the champion, the effects of an ablation, scores."""
