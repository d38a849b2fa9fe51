package worksite

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Diff describes what now asks for and before did not, one line each: `+` for a
// secret that is new, `-` for one that is gone, `~` for what changed. With before
// nil it describes all that now asks for. It is empty where the two ask for the
// same. The lines are safe to print, and show no more of a long text than matters.
func Diff(before, now *Site) []string {
	lines := siteLines(before, now)
	if before == nil {
		before = &Site{}
	}
	old := map[string]Secret{}
	for _, s := range before.Secrets {
		old[s.Name] = s
	}
	kept := map[string]bool{}
	for _, s := range now.Secrets {
		kept[s.Name] = true
		if was, ok := old[s.Name]; ok {
			lines = append(lines, changes(was, s)...)
		} else {
			lines = append(lines, demand(s))
		}
	}
	for _, s := range before.Secrets {
		if !kept[s.Name] {
			lines = append(lines, "- "+s.Name)
		}
	}
	return append(lines, helperLines(before, now)...)
}

// siteLines are the lines about the worksite as a whole. What is as usual is not
// worth one at first.
func siteLines(before, now *Site) (lines []string) {
	first := before == nil
	if first {
		before = &Site{Name: now.Name, Export: ExportCommand}
	}
	change := func(key, was, is string) {
		switch {
		case was == is:
		case first:
			lines = append(lines, "+ "+key+" "+is)
		default:
			lines = append(lines, "~ "+key+" "+is+", was "+was)
		}
	}
	change("name", before.Name, now.Name)
	change("export", exportWords(before.Export), exportWords(now.Export))
	change("ttl", ttlText(before.TTL, "the default"), ttlText(now.TTL, "the default"))
	return lines
}

func exportWords(export string) string {
	if export == ExportTree {
		return "tree: for as long as a shell is inside"
	}
	return "command: while a command runs"
}

func ttlText(d time.Duration, none string) string {
	if d == 0 {
		return none
	}
	return span(d)
}

// demand is the line for a secret that is new.
func demand(s Secret) string {
	var extra []string
	add := func(wanted bool, text string) {
		if wanted {
			extra = append(extra, text)
		}
	}
	add(s.Env != "" && s.Env != s.Name, "as "+s.Env)
	add(s.As == AsFile, "in a file")
	add(s.As == AsTmpfile, "in a file with a name")
	add(s.For != nil, "for "+commandWords(s.For))
	add(s.TTL != 0, "ttl "+span(s.TTL))
	add(!s.Required, "optional")
	add(s.Confirm != ConfirmNever, "confirm "+s.Confirm)
	add(s.Default != nil, "default "+defaultText(s.Default))
	line := "+ " + s.Name + " from " + sourceWords(s.From)
	if len(extra) > 0 {
		line += ", " + strings.Join(extra, ", ")
	}
	if s.Description != "" {
		line += " (" + cut(s.Description, Visible) + ")"
	}
	return line
}

// changes are the lines for a secret that both states ask for.
func changes(was, s Secret) (lines []string) {
	change := func(key, was, is string) {
		if was != is {
			lines = append(lines, fmt.Sprintf("~ %s %s %s, was %s", s.Name, key, is, was))
		}
	}
	change("from", sourceWords(was.From), sourceWords(s.From))
	change("ttl", ttlText(was.TTL, "the worksite's"), ttlText(s.TTL, "the worksite's"))
	lines = append(lines, forChanges(was, s)...)
	change("as", was.As, s.As)
	change("env", was.Variable(), s.Variable())
	change("required", fmt.Sprint(was.Required), fmt.Sprint(s.Required))
	change("confirm", was.Confirm, s.Confirm)
	if text := defaultText(s.Default); !equal(was.Default, s.Default) {
		lines = append(lines, fmt.Sprintf("~ %s default %s, was %s", s.Name, text, defaultText(was.Default)))
	}
	if was.Description != s.Description {
		lines = append(lines, fmt.Sprintf("~ %s description %s", s.Name, cut(s.Description, Visible)))
	}
	return lines
}

// forChanges says which commands may have the secret now, and which no more.
func forChanges(was, s Secret) (lines []string) {
	switch {
	case was.For == nil && s.For == nil:
	case s.For == nil:
		return []string{"~ " + s.Name + " for widened to every command"}
	case was.For == nil:
		return []string{"~ " + s.Name + " for narrowed to " + commandWords(s.For)}
	}
	only := func(in, notIn []string) []string {
		return slices.DeleteFunc(slices.Clone(in), func(c string) bool { return slices.Contains(notIn, c) })
	}
	if added := only(s.For, was.For); len(added) > 0 {
		lines = append(lines, "~ "+s.Name+" for widened by "+commandWords(added))
	}
	if gone := only(was.For, s.For); len(gone) > 0 {
		lines = append(lines, "~ "+s.Name+" for narrowed by "+commandWords(gone))
	}
	return lines
}

func commandWords(prefixes []string) string {
	if len(prefixes) == 0 {
		return "keyrack exec and helpers alone"
	}
	words := make([]string, len(prefixes))
	for i, p := range prefixes {
		words[i] = Visible(p)
	}
	return strings.Join(words, ", ")
}

func sourceWords(from []string) string {
	words := make([]string, len(from))
	for i, source := range from {
		words[i] = SourceWords(source)
	}
	return strings.Join(words, ", else ")
}

func equal(a, b *string) bool {
	return a == b || a != nil && b != nil && *a == *b
}

func defaultText(d *string) string {
	if d == nil {
		return "none"
	}
	return cut(*d, strconv.Quote)
}

// maxShown is how much of a text is shown, in bytes.
const maxShown = 200

// cut is the beginning of a text, shown by show.
func cut(text string, show func(string) string) string {
	if len(text) <= maxShown {
		return show(text)
	}
	end := maxShown
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return fmt.Sprintf("%s… (%d bytes)", show(text[:end]), len(text))
}
