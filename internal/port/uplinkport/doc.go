// Package uplinkport declares what an uplink's port is set to.
package uplinkport
