package programs

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// words parts a line of a test at its blanks; what stands between two ¦ is one word.
func words(line string) (argv []string) {
	for i, part := range strings.Split(line, "¦") {
		if i%2 == 1 {
			argv = append(argv, part)
			continue
		}
		argv = append(argv, strings.Fields(part)...)
	}
	return argv
}

func TestAll(t *testing.T) {
	prefixes := []string{"terraform", "make deploy", "npm run dev", "./bin/tool", "tf"}
	for _, tt := range []struct {
		line string
		want bool
	}{
		{"terraform", true},
		{"terraform apply -auto-approve", true},
		{"terraformer", false},
		{"echo terraform", false},
		{"Terraform", false},
		{"make deploy", true},
		{"make deploy V=1", true},
		{"make", false},
		{"make deployment", false},
		{"make -j4 deploy", false},
		{"make test deploy", false},
		{"npm run dev", true},
		{"npm run", false},
		{"npm run ¦dev x¦", false},
		{"./bin/tool x", true},
		{"bin/tool x", true},
		{"bin/../bin/tool", true},
		{"/root/site/bin/tool", true},
		{"tool", false},
		{"./terraform", false},
		{"/evil/terraform", false},

		{"sudo terraform", true},
		{"sudo -E terraform apply", true},
		{"sudo -nE -u root terraform", true},
		{"sudo -uroot terraform", true},
		{"sudo --user=root --preserve-env terraform", true},
		{"sudo --user root terraform", true},
		{"sudo --preserve-env=A,B terraform", true},
		{"sudo TF_LOG=1 terraform", true},
		{"sudo -- terraform", true},
		{"sudo", false},
		{"sudo -s", false},
		{"sudo -i terraform", false},
		{"sudo -e terraform", false},
		{"sudo --login terraform", false},
		{"sudo -u", false},
		{"sudo cat", false},
		{"sudo -E make test", false},
		{"doas -u root terraform", true},
		{"doas -s", false},
		{"env terraform", true},
		{"env -i TF=1 terraform", true},
		{"env -u A --unset=B terraform", true},
		{"env", false},
		{"env A=1", false},
		{"env -S ¦terraform apply¦", false},
		{"nice terraform", true},
		{"nice -n 5 terraform", true},
		{"nice -n5 terraform", true},
		{"nice -5 terraform", true},
		{"nice --5 terraform", false},
		{"nice --adjustment=5 terraform", true},
		{"ionice -c3 terraform", true},
		{"ionice -p 1", false},
		{"nohup terraform", true},
		{"setsid -w terraform", true},
		{"stdbuf -oL terraform", true},
		{"timeout 5 terraform", true},
		{"timeout -s KILL -k 1 5 terraform", true},
		{"timeout terraform", false},
		{"timeout terraform cat", false},
		{"time -p terraform", true},
		{"xargs terraform", true},
		{"xargs -0 -n1 -P 4 terraform apply", true},
		{"xargs -I{} terraform {}", true},
		{"xargs --max-args=1 terraform", true},
		{"xargs --max-args 1 terraform", true},
		{"xargs --unknown terraform", false},
		{"xargs", false},
		{"xargs rm", false},
		{"sudo -E env A=1 nice -n 5 timeout 5 terraform apply", true},
		{"sudo -E env A=1 nice -n 5 timeout 5 cat", false},
		{"/usr/bin/env terraform", true},
		{"watch terraform", false},
		{"tmux new terraform", false},
		{"ssh host terraform", false},

		{"sh -c ¦terraform apply¦", true},
		{"sh -ec ¦terraform apply¦", true},
		{"sh -e -c ¦terraform apply¦", true},
		{"bash -c ¦cd x && terraform init && terraform apply¦", true},
		{"bash -c ¦terraform apply; cat /proc/self/environ¦", false},
		{"bash -c ¦terraform apply | grep x¦", false},
		{"bash -c ¦echo $AWS_KEY¦", false},
		{"bash -c ¦echo terraform¦", false},
		{"bash -c ¦¦", false},
		{"bash -c ¦terraform $(cat plan)¦", false},
		{"bash -c ¦terraform $(terraform output)¦", true},
		{"bash -c ¦terraform <(env)¦", false},
		{"bash -c ¦(terraform) & wait¦", true},
		{"bash -c ¦if terraform plan; then terraform apply; fi¦", true},
		{"bash -c ¦[ -f x ] && terraform¦", true},
		{"bash -c ¦[[ -f x ]] && terraform¦", true},
		{"bash -c ¦time terraform¦", true},
		{"bash -c ¦! terraform¦", true},
		{"bash -c ¦A=1 terraform¦", true},
		{"bash -c ¦A=$(cat x) terraform¦", false},
		{"bash -c ¦sudo -E terraform¦", true},
		{"bash -c ¦sudo -E cat¦", false},
		{"bash -c ¦command terraform¦", true},
		{"bash -c ¦command -v terraform¦", false},
		{"bash -c ¦exec -a x terraform¦", true},
		{"bash -c ¦exec terraform¦", true},
		{"bash -c ¦exec >log; terraform¦", true},
		{"bash -c ¦\"terraform\" 'apply'¦", true},
		{"bash -c ¦t\"erra\"form¦", true},
		{"bash -c ¦$x apply¦", false},
		{"bash -c ¦terr* apply¦", false},
		{"bash -c ¦make \"$target\"¦", false},
		{"bash -c ¦make deploy \"$x\"¦", true},
		{"bash -c ¦eval terraform¦", false},
		{"bash -c ¦. ./x; terraform¦", false},
		{"bash -c ¦trap env EXIT; terraform¦", false},
		{"bash -c ¦alias terraform=env; terraform¦", false},
		{"bash -c ¦terraform() { env; }; terraform¦", false},
		{"bash -c ¦terraform <<E\n$(env)\nE\n¦", false},
		{"bash -c ¦sh -c \"terraform apply\"¦", true},
		{"bash -c ¦sh -c \"cat x\"¦", false},
		{"bash -c ¦sh -c \"$x\"¦", false},
		{"bash -c ¦terraform (¦", false},
		{"bash -c ¦coproc env¦", false},
		{"bash -lc ¦terraform¦", false},
		{"bash -ic ¦terraform¦", false},
		{"bash --login -c ¦terraform¦", false},
		{"bash -c", false},
		{"bash", false},
		{"bash deploy.sh", false},
		{"sh -c ¦terraform $0¦ x", true},
		{"dash -c ¦terraform¦", true},
		{"zsh -c ¦terraform¦", false},
		{"", false},
	} {
		if got := All(words(tt.line), prefixes, "/root/site", "/root/site"); got != tt.want {
			t.Errorf("%q: %t", tt.line, got)
		}
	}
}

// A path is what it leads to from where the command is, a prefix from the worksite's root.
func TestAllOfPaths(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "tool"), []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	for _, tt := range []struct {
		word, prefix, root, dir string
		want                    bool
	}{
		{"../bin/tool", "bin/tool", "/r", "/r/sub", true},
		{"./bin/tool", "bin/tool", "/r", "/r/sub", false},
		{"tool", "bin/tool", "/r", "/r/bin", false},
		{"tool", "tool", "/r", "/", true},
		{dir + "/tool", "tool", "/r", "/", true},
		{"./tool", "tool", "/r", dir, true},
		{"./tool", "tool", "/r", "/", false},
		{"/r/bin/tool", "/r/bin/tool", "/other", "/", true},
	} {
		if got := All([]string{tt.word}, []string{tt.prefix}, tt.root, tt.dir); got != tt.want {
			t.Errorf("%+v: %t", tt, got)
		}
	}
	if All([]string{"tool"}, nil, "/r", "/r") {
		t.Error("no prefix names a program")
	}
}

// Whatever a script is, it costs no panic.
func FuzzScript(f *testing.F) {
	for _, s := range []string{"terraform apply", "a && b | c", "x=$(a b) y", "case $x in a) b;; esac", "for i in 1 2; do a $i; done", "a <<E\n$(b)\nE\n", "((1)) && a", "a >(b)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		All([]string{"bash", "-c", text}, []string{"terraform"}, "/", "/")
	})
}

// What the words of wrappers mean is what the wrappers do: the real ones start what
// is told of them.
func TestWrappersStartTheCommand(t *testing.T) {
	for _, line := range []string{
		"env -u A B=1 echo ran", "env -i /bin/echo ran", "nice -n 5 echo ran", "nice -5 echo ran", "nohup echo ran", "setsid -w echo ran",
		"stdbuf -oL echo ran", "timeout -s KILL -k 1 5 echo ran", "ionice -c3 echo ran", "xargs -0 -n1 -P 2 echo ran", "xargs -I{} echo ran",
		"nice --adjustment 5 echo ran", "timeout --kill-after 1 5 echo ran", "stdbuf --output L echo ran", "xargs --max-args 1 echo ran",
		"bash -c ¦command -p echo ran¦", "bash -c ¦exec -a x /bin/echo ran¦",
	} {
		argv := words(line)
		started, ok := of(argv)
		if argv[0] != "bash" && (!ok || len(started) != 1 || filepath.Base(started[0][0]) != "echo" || started[0][1] != "ran") {
			t.Errorf("%q starts %q, %t", line, started, ok)
		}
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Stdin = strings.NewReader("x")
		out, err := cmd.Output()
		if err != nil || !strings.HasPrefix(string(out), "ran") {
			t.Errorf("%q: %v, %q", line, err, out)
		}
	}
}

// The hooks put functions in the place of all of them; "time" is a word of the shells.
func TestHooksKnowTheWrappers(t *testing.T) {
	names := slices.Sorted(maps.Keys(wrappers))
	names = slices.DeleteFunc(names, func(name string) bool { return name == "time" })
	list := strings.Join(names, " ")
	for _, shell := range []string{"bash", "zsh", "fish"} {
		text, err := os.ReadFile("../hook." + shell)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), list) {
			t.Errorf("hook.%s does not have %q", shell, list)
		}
	}
}

// 10 kB are parsed in well under a millisecond:
//
//	go test ./shells/programs -run '^$' -bench .
func BenchmarkScript(b *testing.B) {
	argv := []string{"bash", "-c", strings.Repeat("terraform apply -var 'a=b' && ", 340) + "true"}
	b.SetBytes(int64(len(argv[2])))
	for b.Loop() {
		if !All(argv, []string{"terraform"}, "/", "/") {
			b.Fatal("not all")
		}
	}
}
