// Package walkthrough follows a document as a reader does: it takes the commands out of the code
// blocks and runs them in a shell, to the letter.
//
// The words after the three backquotes of a block are the block's. Renderers show the block in the
// language that the first word names, and ignore the others. By convention of this repository's
// documents, blocks of "sh" have commands, and further words say in which guests these are run: see
// [Walk]. Blocks without a word are output, or commands that nobody is to run as they are.
//
// The package knows nothing of vswitchd. The tests of qemu-examples/ and of the installed package
// call it.
package walkthrough
