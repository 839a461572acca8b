package sync

import (
	"fmt"
	"sync"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// rememberedBytes is after how many bytes of tasks, encoded, the older half is forgotten. Decoded they are three or four times
// as large.
const rememberedBytes = 8 << 20

// taskMemory remembers tasks by id and revision. A change of a task raises its revision, in the transaction that stores it,
// and a log's entry names the revision: so what is found here is what the store holds, in whichever snapshot, and nothing has
// to be thrown out when a task changes. The phones of a crew, its dispatchers, and all their streams read the same few tasks
// within seconds of each change.
//
// What it holds is shared by answers that are being encoded: nobody may change it. The zero value is empty and ready. Safe
// for concurrent use.
type taskMemory struct {
	mu          sync.Mutex
	young, aged map[string]*fieldsyncv1.Task
	bytes       int
}

// load returns the task that a log's entry names.
func (m *taskMemory) load(tx *store.Tx, entry store.LogEntry) (*fieldsyncv1.Task, error) {
	if task := m.get(entry.GetTaskId(), entry.GetRevision()); task != nil {
		return task, nil
	}
	record, size, err := store.GetSized(tx, store.TaskKey(entry.GetTaskId()))
	if err != nil {
		return nil, err
	}
	if record == nil {
		return nil, fmt.Errorf("the log names the task %s, which is not stored", entry.GetTaskId())
	}
	m.put(record.GetTask(), size)
	return record.GetTask(), nil
}

func (m *taskMemory) get(id string, revision uint64) *fieldsyncv1.Task {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, tasks := range []map[string]*fieldsyncv1.Task{m.young, m.aged} {
		if task := tasks[id]; task.GetRevision() == revision {
			return task
		}
	}
	return nil
}

// put remembers a task as a committed transaction left it, of about so many bytes.
func (m *taskMemory) put(task *fieldsyncv1.Task, size int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.young == nil || m.bytes+size > rememberedBytes {
		m.young, m.aged, m.bytes = make(map[string]*fieldsyncv1.Task), m.young, 0
	}
	m.young[task.GetId()] = task
	m.bytes += size
}
