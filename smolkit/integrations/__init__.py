"""smolkit in other projects' terms: a file for each project, each an extra, imported by nobody else."""
