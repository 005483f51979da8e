"""Motion clips: in and out of files, onto other skeletons, cleaned, and drawn."""
