// Package guest declares what a guest's port is set to.
package guest
