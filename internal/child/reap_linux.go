package child

import (
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// retryEvery is how soon to look again when a child of our own has ended whose Wait has
// not returned yet: the kernel may have more behind it.
const retryEvery = 10 * time.Millisecond

// Reap waits for the orphans that become children of this process, until stop is
// called. Without it they stay as zombies for as long as this process lives.
func Reap() (stop func()) {
	signals, stopped := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, syscall.SIGCHLD)
	var reaping sync.WaitGroup
	reaping.Go(func() {
		for {
			var retry <-chan time.Time
			if reapAll() {
				retry = time.After(retryEvery)
			}
			select {
			case <-signals:
			case <-retry:
			case <-stopped:
				return
			}
		}
	})
	return func() {
		signal.Stop(signals)
		close(stopped)
		reaping.Wait()
	}
}

// reapAll reports whether to look again soon.
func reapAll() (again bool) {
	for {
		mu.Lock()
		pid := ended()
		orphan := pid != 0 && !own[pid]
		if orphan {
			_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
		}
		mu.Unlock()
		if !orphan {
			return pid != 0
		}
	}
}

// ended returns a child that has ended, and leaves its exit status where it is; 0 when
// there is none.
func ended() (pid int) {
	var info struct { // siginfo_t, of which unix.Siginfo does not show the part for SIGCHLD
		signo, errno, code int32
		child              struct {
			_      [0]uintptr // as the union in C is aligned
			pid    int32
			uid    uint32
			status int32
		}
		_ [128]byte
	}
	for {
		// #nosec G103 -- info is as large as siginfo_t, 128 bytes, and larger
		err := unix.Waitid(unix.P_ALL, 0, (*unix.Siginfo)(unsafe.Pointer(&info)), unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil { // ECHILD: there are no children
			return 0
		}
		return int(info.child.pid)
	}
}
