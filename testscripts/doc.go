// Package testscripts holds what a user sees of keyrack as scripts: the real
// programs, in real shells, on real terminals. It has no code that keyrack uses.
//
// # Running
//
// testscripts/run installs what is missing and runs everything. Afterwards:
//
//	go test ./testscripts                                    # everything
//	go test ./testscripts -run 'TestShell/fish4/.*/cd_'      # one shell, some scripts
//	KEYRACK_SHELLS=bash,zsh go test ./testscripts            # some shells, by variant
//	KEYRACK_TEST_BIN=/dir go test ./testscripts              # finished programs instead of building
//
// The shells that the system lacks are looked for in KEYRACK_TEST_SHELLS/bin, by
// default ~/.cache/keyrack-test-shells/bin: bash51, bash53, fish3, fish4. A
// missing one fails; nothing is skipped.
//
// # Where a script stands
//
//	testdata/script/*.txtar         no interactive shell, run once
//	testdata/shell/*.txtar          in every variant
//	testdata/shell/modes/*.txtar    in every variant, with export = "command" and again with "tree"
//	testdata/shell/bash|zsh|fish/*  in the variants of that shell
//
// The variants are bash, bash-debug (hook --before debug), bash51, bash53, zsh,
// zsh-client (hook --client), fish3 and fish4. Their names are conditions, as are
// the families [bash] [zsh] [fish] and the modes [command] [tree].
//
// Each script has its own HOME, XDG directories, daemon, and PATH with keyrack,
// keyrack-hook and K; there is no D-Bus. $O is a directory outside every
// worksite, $SHELL the variant's shell, $SHELLS the cache of shells. At its end the
// daemon is stopped, and a process or a socket that is left fails the script. So
// does a secret value that stood on a terminal at any time, typed or printed.
//
// # Worksites and secrets
//
//	rack                     make the rack, with lock "none" (site does it too)
//	site [-dir DIR] [-export MODE] [-ttl TTL] [-noallow] NAME SECRET...
//	                         make $WORK/NAME (or DIR) with a .keyrack.toml, unless there is one, set
//	                         a random value for each SECRET in the rack, allow it; $NAME is its path
//	secret SITE NAME [FILE]  set a new random value, or a file's bytes, for $SITE
//	bytes FILE all           a file with each byte from 1 to 255
//	bytes FILE TEXT COUNT    a file with TEXT, COUNT times
//	[!] clean FILE...        the files (or stdout, stderr) hold no secret value
//
// Every random value looks like canary-SITE-SECRET-0123456789abcdef, so that
// `! stderr canary` holds where none was printed.
//
// K is a program that knows the script's values by digest: `K` prints K=2 where two
// variables of its environment hold one, `K -l` the labels too (K=2 W.ALPHA W.BETA),
// `K ALPHA` one of ALPHA=W.ALPHA, ALPHA=unset, ALPHA=(text), and `K -e` the names of
// all variables.
//
//	named FILE...            programs that note, under their own names, which secrets they have
//	table FILE               lines to type, each with what the programs of that line have
//	silent                   standard error is empty, but for the line that a slow daemon costs
//
// # Terminals
//
//	shell [-before FILE] [-after FILE] [-nohook] [-keeprc] [-name NAME] [-trace FILE]
//	                open an interactive shell in the script's directory. Its start-up file sets a
//	                prompt that the tests read, then has FILE before the hook, the hook, FILE after it;
//	                -keeprc leaves the start-up file as it is; -trace runs it under strace
//	type LINE       type a line, wait for the next prompt; stdout is what was shown between (standard
//	                output and standard error, values masked, without the line that a slow daemon
//	                gets); ! type: a line that ends the shell
//	submit LINE     type a line and do not wait
//	send WORD...    press keys by name (enter tab ctrl-c ctrl-d ctrl-z alt-left up …) or type a word
//	expect REGEXP   wait until what was shown since the last input matches; stdout is all of that
//	prompt          wait for the prompt after send; stdout is what was shown before it
//	[!] rc N        compare $? as the last prompt showed it
//	terminal [-name NAME] PROGRAM ARG...
//	                run another program on a terminal: for questions and passphrases
//	use NAME        go on with another terminal; the first is called main
//	close [CODE]    leave the shell by exit, or wait for the program; compare its exit code
//
// Put lines in single quotes: outside them testscript itself expands $VAR. All
// waits end as soon as their condition holds, and fail after 30 seconds
// (KEYRACK_PATIENCE=5s to fail sooner).
//
// # More
//
//	[!] until REGEXP COMMAND ARG...   run COMMAND until its output matches (does not match)
//	[!] daemon                        exactly one daemon runs ($DAEMON is its pid); ! daemon: none
//	[!] processes REGEXP              wait until a process of this script matches (none does)
//	serve git|aws|pip|npm|kubernetes  a server that wants credentials, at $SERVER; see cmdServe
//	[!] docker VERB [URL]             ask docker-credential-keyrack as docker does
//	keyring [-locked] | keyring stop  a real gnome-keyring on a private D-Bus
//	kube NAMESPACE/SECRET KEY=VALUE...
//	                                  a server that stands for a cluster's API, and KUBECONFIG for it
//	bare PROGRAM...                   PATH has these programs and no others
//	store aws|doppler NAME=VALUE...   a server that stands for a store of secrets; see cmdStore
//	traced FILE FROM TO               stdout: clone=N execve=N and the files opened, in what `shell
//	                                  -trace FILE` wrote between the first line with FROM and the first with TO
package testscripts
