package report

import (
	"fmt"
	"os"
	"strings"
)

// Publish prints the results of a program, and writes them into a document, if one is named, as
// Replace does.
func Publish(file, program, text string) error {
	fmt.Print(text)
	if file == "" {
		return nil
	}
	return Replace(file, program, text)
}

// Replace writes text into a document in the place of earlier results of a program: between the two
// lines that name it.
func Replace(file, program, text string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	begin, end := marks(program)
	before, rest, ok := strings.Cut(string(b), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no place for results: the lines %q and %q", file, begin, end)
	}
	return os.WriteFile(file, []byte(before+begin+"\n"+text+end+after), 0o644)
}

func marks(program string) (begin, end string) {
	return "<!-- results of bench " + program + ": begin -->\n", "<!-- results of bench " + program + ": end -->\n"
}
