package arena

func dropIPCLock() error { return nil }
