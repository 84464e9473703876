// Package tomldoc edits TOML documents: as a tree of values, by JSON Patch, and as text, in which
// comments and the order of what is not edited stay.
//
// [Parse] makes a tree ([Table]) of a text, [Table.Render] a text of a tree. [Patch] is a list of
// edits of a tree, as the control API takes it; [Diff] is the patch that turns one tree into
// another. [Rewrite] edits a text so that it means what a given tree does.
//
// The package knows nothing of what a document is about. vswitchd holds its running configuration
// as a tree, and vswitchctl edits the configuration file.
package tomldoc
