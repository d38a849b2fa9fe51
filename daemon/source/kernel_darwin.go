package source

// kernelKeys says that macOS has none.
func kernelKeys() (finding, error) {
	return nil, &openError{"macOS keeps no keys in its kernel", ErrKeyring}
}
