"""The results of a study: finalists and champion, the effects of an ablation, scores."""
