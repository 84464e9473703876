package key

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strings"
)

// Accounts are the users and groups of the system as they were at some time. A process that cannot
// read them any more, because it is in a sandbox, finds the names of its configuration in them.
// They are not modified. A nil *Accounts has no names.
type Accounts struct {
	numbers map[string]map[string]string // by file and name
}

// The files of users and of groups.
const (
	users  = "/etc/passwd"
	groups = "/etc/group"
)

// ReadAccounts reads the users and groups of the system.
func ReadAccounts() *Accounts {
	return &Accounts{map[string]map[string]string{users: readNames(users), groups: readNames(groups)}}
}

// readNames returns the third field of each line by the first one. A file that cannot be read has
// no names, as for package os/user.
func readNames(file string) map[string]string {
	text, _ := os.ReadFile(file)
	names := make(map[string]string)
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if f := strings.Split(lines.Text(), ":"); len(f) > 2 && names[f[0]] == "" {
			names[f[0]] = f[2]
		}
	}
	return names
}

// user returns the number of a user.
func (a *Accounts) user(name string) (string, error) {
	u, err := user.Lookup(name)
	if err == nil {
		return u.Uid, nil
	}
	return a.known(users, name, err)
}

// group returns the number of a group.
func (a *Accounts) group(name string) (string, error) {
	g, err := user.LookupGroup(name)
	if err == nil {
		return g.Gid, nil
	}
	return a.known(groups, name, err)
}

// known returns the number that a name had, if the file of names cannot be read now. Otherwise it
// returns err, by which package os/user has said that there is no such name.
func (a *Accounts) known(file, name string, err error) (string, error) {
	f, denied := os.Open(file)
	if !errors.Is(denied, fs.ErrPermission) {
		_ = f.Close()
		return "", err
	}
	if a != nil && a.numbers[file][name] != "" {
		return a.numbers[file][name], nil
	}
	return "", fmt.Errorf("cannot be looked up, and was not there when vswitchd started: %w; use its number, or restart vswitchd", denied)
}
