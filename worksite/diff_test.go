package worksite

import (
	"slices"
	"strings"
	"testing"
)

func TestDiff(t *testing.T) {
	long := strings.Repeat("ä", 200)
	for name, tt := range map[string]struct {
		before, now string // before "" stands for no approval
		want        []string
	}{
		"first": {"", `name = "n"
ttl = "30m"
export = "tree"
[secrets]
Z = ""
A = "op://x/y/z z"
B = { from = ["", "pass:b"], env = "C", as = "file", for = ["make deploy", "tf"], ttl = "15m", required = false, confirm = "always", default = "dflt", description = "what it is" }
D = { for = [], default = "" }
E = { env = "E" }
`, []string{
			"+ export tree: for as long as a shell is inside",
			"+ ttl 30m",
			"+ Z from rack",
			"+ A from op://x/y/z z",
			"+ B from rack, else pass:b, as C, in a file, for make deploy, tf, ttl 15m, optional, confirm always, default \"dflt\" (what it is)",
			`+ D from rack, for keyrack exec and helpers alone, default ""`,
			"+ E from rack",
		}},
		"first, nothing":   {"", "[secrets]", nil},
		"a comment":        {"name='n'\n[secrets]\nA=''", "# c\nname = \"n\"\n\n[secrets]\n\"A\" = { } # c", nil},
		"another order":    {"name='n'\n[secrets]\nA=''\nB=''", "[secrets]\nB=''\nA=''\n[secrets.C]", []string{"~ name NAME, was n", "+ C from rack"}},
		"said as it was":   {"name='n'\nexport='command'\n[secrets]\nA={from='',as='env',required=true,confirm='never',env='A'}", "name='n'\n[secrets]\nA=''", nil},
		"added, gone":      {"name='n'\n[secrets]\nA=''\nB=''\nC=''", "name='n'\n[secrets]\nC=''\nD=''", []string{"+ D from rack", "- A", "- B"}},
		"top":              {"name='n'\n[secrets]", "name='m'\nttl='9h'\nexport='tree'\n[secrets]", []string{"~ name m, was n", "~ export tree: for as long as a shell is inside, was command: while a command runs", "~ ttl 9h, was the default"}},
		"top, back":        {"name='n'\nttl='9h'\nexport='tree'\n[secrets]", "name='n'\n[secrets]", []string{"~ export command: while a command runs, was tree: for as long as a shell is inside", "~ ttl the default, was 9h"}},
		"source":           {"name='n'\n[secrets]\nA=''", "name='n'\n[secrets]\nA='op://x/y/z'", []string{"~ A from op://x/y/z, was rack"}},
		"order of sources": {"name='n'\n[secrets]\nA={from=['','pass:x']}", "name='n'\n[secrets]\nA={from=['pass:x','']}", []string{"~ A from pass:x, else rack, was rack, else pass:x"}},
		"ttl":              {"name='n'\n[secrets]\nA={ttl='1h'}\nB=''", "name='n'\n[secrets]\nA={ttl='90m'}\nB={ttl='1s'}", []string{"~ A ttl 1h30m, was 1h", "~ B ttl 1s, was the worksite's"}},
		"env":              {"name='n'\n[secrets]\nA=''", "name='n'\n[secrets]\nA={env='B'}", []string{"~ A env B, was A"}},
		"as":               {"name='n'\n[secrets]\nA=''", "name='n'\n[secrets]\nA={as='file'}", []string{"~ A as file, was env"}},
		"required":         {"name='n'\n[secrets]\nA=''", "name='n'\n[secrets]\nA={required=false}", []string{"~ A required false, was true"}},
		"confirm":          {"name='n'\n[secrets]\nA={confirm='always'}", "name='n'\n[secrets]\nA=''", []string{"~ A confirm never, was always"}},
		"default":          {"name='n'\n[secrets]\nA=''\nB={default='x'}\nC={default='y'}", "name='n'\n[secrets]\nA={default=''}\nB={default='z'}\nC=''", []string{`~ A default "", was none`, `~ B default "z", was "x"`, `~ C default none, was "y"`}},
		"description":      {"name='n'\n[secrets]\nA={description='x'}", "name='n'\n[secrets]\nA={description='y'}", []string{"~ A description y"}},
		"for, to some":     {"name='n'\n[secrets]\nA=''", "name='n'\n[secrets]\nA={for=['make','tf']}", []string{"~ A for narrowed to make, tf"}},
		"for, to none":     {"name='n'\n[secrets]\nA=''", "name='n'\n[secrets]\nA={for=[]}", []string{"~ A for narrowed to keyrack exec and helpers alone"}},
		"for, to all":      {"name='n'\n[secrets]\nA={for=[]}", "name='n'\n[secrets]\nA=''", []string{"~ A for widened to every command"}},
		"for, other":       {"name='n'\n[secrets]\nA={for=['a','b']}", "name='n'\n[secrets]\nA={for=['b','c','d']}", []string{"~ A for widened by c, d", "~ A for narrowed by a"}},
		"for, reordered":   {"name='n'\n[secrets]\nA={for=['a','b']}", "name='n'\n[secrets]\nA={for=['b','a']}", nil},
		"control":          {"", "[secrets]\nA={from=\"file:x\\u202e\",description=\"a\\nb\\u202e\",default=\"\\\"q\"}", []string{`+ A from "file:x\u202e", default "\"q" ("a\nb\u202e")`}},
		"long":             {"", "[secrets]\nA={description='" + long + "'}", []string{"+ A from rack (" + strings.Repeat("ä", 100) + "… (400 bytes))"}},
		"long, at its end": {"name='n'\n[secrets]\nA={description='" + long + "1'}", "name='n'\n[secrets]\nA={description='" + long + "2'}", []string{"~ A description " + strings.Repeat("ä", 100) + "… (401 bytes)"}},
	} {
		t.Run(name, func(t *testing.T) {
			var before *Site
			if tt.before != "" {
				before = read(t, write(t, tt.before))
			}
			now := read(t, write(t, tt.now))
			got := Diff(before, now)
			for i := range got {
				got[i] = strings.Replace(got[i], now.Name+", was", "NAME, was", 1)
			}
			for i := range tt.want {
				tt.want[i] = strings.Replace(tt.want[i], "name m, was", "name NAME, was", 1)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}
