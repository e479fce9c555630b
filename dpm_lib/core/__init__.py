"""What all packages share: checks of arguments, constants, random numbers, files, and measured results."""
