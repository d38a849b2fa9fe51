package daemon

// platformRoles are the attackers, which exist on Linux alone.
var platformRoles = map[string]func(args []string) error{}
