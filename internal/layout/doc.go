// Package layout lays out text for people: tables, and names with their values, that fit the width
// of a terminal, with colors where the terminal has them. It does not know what the text is about.
// cmd/vswitchctl prints its answers through this package, and internal/top takes the colors and the
// fitting of tables from it.
package layout
