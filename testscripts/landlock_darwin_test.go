package testscripts

func landlock() int { return 0 }
