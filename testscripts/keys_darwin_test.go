package testscripts

func hasKeys() bool { return false }
