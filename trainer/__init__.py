"""Training, evaluation, reports and export; the only room that imports torch."""
