"""The sources of frames, a module each; every one imports its library only when it is opened."""
