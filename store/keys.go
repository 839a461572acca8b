package store

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"strings"
	"time"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// The layout of keys. A key is a word and its parts: a text is its bytes and a zero byte, a number is eight bytes,
// big-endian. So keys sort by their parts, and no key of one family begins with a prefix of another. No text of ours holds
// a byte 0 or 1, but some come from outside: there 0 is written as 1 1 and 1 as 1 2, so that no text reaches into the next.
//
// Change it by adding. Once written, a shape stays.

// MetaKey: meta/ — what the store is.
func MetaKey() Key[storagev1.Meta] { return newKey("meta").bytes() }

// BackfillKey: backfill/<name> — how far an index has come that older records are entered into.
func BackfillKey(name string) Key[storagev1.Backfill] { return newKey("backfill").text(name).bytes() }

// UnitKey: unit/<unit>
func UnitKey(id string) Key[fieldsyncv1.Unit] { return newKey("unit").text(id).bytes() }

// Units is the prefix of all units.
func Units() Prefix[fieldsyncv1.Unit] { return newKey("unit").bytes() }

// CrewKey: crew/<crew>
func CrewKey(id string) Key[fieldsyncv1.Crew] { return newKey("crew").text(id).bytes() }

// Crews is the prefix of all crews.
func Crews() Prefix[fieldsyncv1.Crew] { return newKey("crew").bytes() }

// MemberKey: member/<member>
func MemberKey(id string) Key[fieldsyncv1.Member] { return newKey("member").text(id).bytes() }

// Members is the prefix of all members.
func Members() Prefix[fieldsyncv1.Member] { return newKey("member").bytes() }

// MemberHistoryKey: member-history/<member>
func MemberHistoryKey(member string) Key[storagev1.MemberHistory] {
	return newKey("member-history").text(member).bytes()
}

// DeviceKey: device/<device>
func DeviceKey(id string) Key[storagev1.Device] { return newKey("device").text(id).bytes() }

// Devices is the prefix of all devices.
func Devices() Prefix[storagev1.Device] { return newKey("device").bytes() }

// AccessHeadKey: access-head/ — counts the times that a right was taken away: calls under way are looked at again.
func AccessHeadKey() Key[storagev1.SequenceHead] { return newKey("access-head").bytes() }

// DeviceByKeyKey: device-key/<SHA-256 of the public key> — the id of the device that holds a key.
func DeviceByKeyKey(publicKey []byte) Key[storagev1.Device] {
	sum := sha256.Sum256(publicKey)
	return newKey("device-key").raw(sum[:]).bytes()
}

// MemberDeviceKey: member-device/<member>/<device> — holds only the id: which devices a member has.
func MemberDeviceKey(member, device string) Key[storagev1.Device] {
	return newKey("member-device").text(member).text(device).bytes()
}

// MemberDevices is the prefix of the devices of a member.
func MemberDevices(member string) Prefix[storagev1.Device] {
	return newKey("member-device").text(member).bytes()
}

// CrewMemberKey: crew-member/<crew>/<member> — holds only the id: which members a crew has.
func CrewMemberKey(crew, member string) Key[fieldsyncv1.Member] {
	return newKey("crew-member").text(crew).text(member).bytes()
}

// CrewMembers is the prefix of the members of a crew.
func CrewMembers(crew string) Prefix[fieldsyncv1.Member] {
	return newKey("crew-member").text(crew).bytes()
}

// CategoryKey: category/<category>
func CategoryKey(id string) Key[fieldsyncv1.Category] { return newKey("category").text(id).bytes() }

// Categories is the prefix of all categories.
func Categories() Prefix[fieldsyncv1.Category] { return newKey("category").bytes() }

// CalendarHeadKey: calendar-head/ — the newest version of the calendar of working days.
func CalendarHeadKey() Key[storagev1.SequenceHead] { return newKey("calendar-head").bytes() }

// CalendarKey: calendar/<version>
func CalendarKey(version uint32) Key[storagev1.CalendarVersion] {
	return newKey("calendar").number(uint64(version)).bytes()
}

// TimerKey: timer/<due>/<id> — by due time, so that a worker reads only what is due.
func TimerKey(due time.Time, id string) Key[storagev1.Timer] {
	return newKey("timer").time(due).text(id).bytes()
}

// Timers is the prefix of all timers.
func Timers() Prefix[storagev1.Timer] { return newKey("timer").bytes() }

// AuditKey: audit/<time, inverted>/<id> — the newest first.
func AuditKey(at time.Time, id string) Key[storagev1.AuditRecord] {
	return newKey("audit").newestFirst(at).text(id).bytes()
}

// Audit is the prefix of all entries of the audit log.
func Audit() Prefix[storagev1.AuditRecord] { return newKey("audit").bytes() }

// AuditSubjectKey: audit-of/<kind>/<subject>/<time, inverted>/<id> — holds only id and time: the entries about somebody or something.
func AuditSubjectKey(kind, subject string, at time.Time, id string) Key[storagev1.AuditRecord] {
	return newKey("audit-of").text(kind).text(subject).newestFirst(at).text(id).bytes()
}

// AuditOf is the prefix of the entries about somebody or something.
func AuditOf(kind, subject string) Prefix[storagev1.AuditRecord] {
	return newKey("audit-of").text(kind).text(subject).bytes()
}

// TerritoryHeadKey: territory-head/ — which versions of areas and names are in force.
func TerritoryHeadKey() Key[storagev1.TerritoryHead] { return newKey("territory-head").bytes() }

// AreaKey: area/<version>/<number>
func AreaKey(version, number uint64) Key[storagev1.StoredArea] {
	return newKey("area").number(version).number(number).bytes()
}

// Areas is the prefix of the areas of a version.
func Areas(version uint64) Prefix[storagev1.StoredArea] {
	return newKey("area").number(version).bytes()
}

// SuccessionsKey: successions/<version>/<number> — a part of the old names.
func SuccessionsKey(version, number uint64) Key[storagev1.StoredSuccessions] {
	return newKey("successions").number(version).number(number).bytes()
}

// Successions is the prefix of the old names of a version.
func Successions(version uint64) Prefix[storagev1.StoredSuccessions] {
	return newKey("successions").number(version).bytes()
}

// CrewWorkKey: crew-work/<crew> — what it can do and when it works.
func CrewWorkKey(crew string) Key[fieldsyncv1.CrewWork] {
	return newKey("crew-work").text(crew).bytes()
}

// EnrolCodeKey: enrol-code/<SHA-256 of the code>
func EnrolCodeKey(sum [sha256.Size]byte) Key[storagev1.EnrolCode] {
	return newKey("enrol-code").raw(sum[:]).bytes()
}

// EnrolCodes is the prefix of all codes that nobody has used yet.
func EnrolCodes() Prefix[storagev1.EnrolCode] { return newKey("enrol-code").bytes() }

// SigningKeyKey: signing-key/<kid>
func SigningKeyKey(kid string) Key[storagev1.SigningKey] {
	return newKey("signing-key").text(kid).bytes()
}

// SigningKeys is the prefix of all signing keys.
func SigningKeys() Prefix[storagev1.SigningKey] { return newKey("signing-key").bytes() }

// UsedProofKey: used-proof/<expiry>/<SHA-256 of device and jti> — by expiry, so that a sweep reads only what may go. The
// expiry follows from the proof itself, so a replay meets the same key.
func UsedProofKey(expiry time.Time, device, jti string) Key[storagev1.UsedProof] {
	sum := sha256.Sum256([]byte(device + "\x00" + jti))
	return newKey("used-proof").time(expiry).raw(sum[:]).bytes()
}

// UsedProofs is the prefix of all used proofs.
func UsedProofs() Prefix[storagev1.UsedProof] { return newKey("used-proof").bytes() }

// DeviceStatusKey: device-status/<device>
func DeviceStatusKey(device string) Key[storagev1.DeviceStatus] {
	return newKey("device-status").text(device).bytes()
}

// TicketKey: ticket/<ticket>
func TicketKey(id string) Key[storagev1.Ticket] { return newKey("ticket").text(id).bytes() }

// Tickets is the prefix of all tickets.
func Tickets() Prefix[storagev1.Ticket] { return newKey("ticket").bytes() }

// TicketByHotlineKey: ticket-hotline/<hotline's id> — holds only the id: the ticket that the hotline knows by its own id.
func TicketByHotlineKey(hotlineID string) Key[storagev1.Ticket] {
	return newKey("ticket-hotline").text(hotlineID).bytes()
}

// UnitTicketKey: unit-ticket/<unit>/<ticket> — holds only the id: which tickets a unit has.
func UnitTicketKey(unit, ticket string) Key[storagev1.Ticket] {
	return newKey("unit-ticket").text(unit).text(ticket).bytes()
}

// UnitTickets is the prefix of the tickets of a unit.
func UnitTickets(unit string) Prefix[storagev1.Ticket] {
	return newKey("unit-ticket").text(unit).bytes()
}

// TaskKey: task/<task>
func TaskKey(id string) Key[storagev1.TaskRecord] { return newKey("task").text(id).bytes() }

// Tasks is the prefix of all tasks.
func Tasks() Prefix[storagev1.TaskRecord] { return newKey("task").bytes() }

// UnitTaskKey: unit-task/<unit>/<task> — holds only the id: which tasks a unit has.
func UnitTaskKey(unit, task string) Key[storagev1.TaskRecord] {
	return newKey("unit-task").text(unit).text(task).bytes()
}

// UnitTasks is the prefix of the tasks of a unit.
func UnitTasks(unit string) Prefix[storagev1.TaskRecord] {
	return newKey("unit-task").text(unit).bytes()
}

// ReviewKey: review/<task> — holds only the id: which tasks wait for review.
func ReviewKey(task string) Key[storagev1.TaskRecord] { return newKey("review").text(task).bytes() }

// Reviews is the prefix of the tasks that wait for review.
func Reviews() Prefix[storagev1.TaskRecord] { return newKey("review").bytes() }

// ScopeHeadKey: scope-head/<scope>
func ScopeHeadKey(scope Scope) Key[storagev1.ScopeHead] {
	return newKey("scope-head").text(string(scope)).bytes()
}

// ScopeHeads is the prefix of the heads of all scopes of which something was ever heard.
func ScopeHeads() Prefix[storagev1.ScopeHead] { return newKey("scope-head").bytes() }

// ScopeEntryKey: scope-log/<scope>/<sequence>
func ScopeEntryKey(scope Scope, sequence uint64) Key[storagev1.ScopeEntry] {
	return newKey("scope-log").text(string(scope)).number(sequence).bytes()
}

// ScopeLog is the prefix of the log of a scope.
func ScopeLog(scope Scope) Prefix[storagev1.ScopeEntry] {
	return newKey("scope-log").text(string(scope)).bytes()
}

// ScopePlaceKey: scope-place/<scope>/<task> — where in the log the task's one entry stands, if the task's record does not
// say so: see Place.
func ScopePlaceKey(scope Scope, task string) Key[storagev1.ScopePlace] {
	return newKey("scope-place").text(string(scope)).text(task).bytes()
}

// ScopePlaces is the prefix of the places of a scope's tasks.
func ScopePlaces(scope Scope) Prefix[storagev1.ScopePlace] {
	return newKey("scope-place").text(string(scope)).bytes()
}

// MutationHeadKey: mutation-head/<device>/<install epoch>
func MutationHeadKey(device string, epoch uint32) Key[storagev1.MutationHead] {
	return newKey("mutation-head").text(device).number(uint64(epoch)).bytes()
}

// MutationHeads is the prefix of all numberings.
func MutationHeads() Prefix[storagev1.MutationHead] { return newKey("mutation-head").bytes() }

// VerdictKey: verdict/<device>/<install epoch>/<number>
func VerdictKey(device string, epoch uint32, number uint64) Key[storagev1.VerdictRecord] {
	return newKey("verdict").text(device).number(uint64(epoch)).number(number).bytes()
}

// RenumberedKey: renumbered/<device>/<SHA-256 of the mutation without its number> — the verdict on what was sent under a later
// install epoch than the first.
func RenumberedKey(device string, content [sha256.Size]byte) Key[storagev1.VerdictRecord] {
	return newKey("renumbered").text(device).raw(content[:]).bytes()
}

// QuarantinedKey: quarantined/<device>/<install epoch>/<number>/<SHA-256 of the payload> — with the payload's hash, since
// it is just the number with two payloads that leads here.
func QuarantinedKey(device string, epoch uint32, number uint64, payload [sha256.Size]byte) Key[storagev1.Quarantined] {
	return newKey("quarantined").text(device).number(uint64(epoch)).number(number).raw(payload[:]).bytes()
}

// QuarantinedOf is the prefix of what a device has in quarantine.
func QuarantinedOf(device string) Prefix[storagev1.Quarantined] {
	return newKey("quarantined").text(device).bytes()
}

// ResolvedKey: resolved/<device>/<install epoch>/<number>/<SHA-256 of the payload> — what a dispatcher took out of the
// quarantine, under the key that it had there.
func ResolvedKey(device string, epoch uint32, number uint64, payload [sha256.Size]byte) Key[storagev1.Quarantined] {
	return newKey("resolved").text(device).number(uint64(epoch)).number(number).raw(payload[:]).bytes()
}

// ResolvedAll is the prefix of everything that was taken out of the quarantine.
func ResolvedAll() Prefix[storagev1.Quarantined] { return newKey("resolved").bytes() }

// QuarantinedAll is the prefix of everything in quarantine.
func QuarantinedAll() Prefix[storagev1.Quarantined] { return newKey("quarantined").bytes() }

// UploadKey: upload/<upload>
func UploadKey(id string) Key[storagev1.Upload] { return newKey("upload").text(id).bytes() }

// Uploads is the prefix of all uploads.
func Uploads() Prefix[storagev1.Upload] { return newKey("upload").bytes() }

// DeviceUploadKey: device-upload/<device>/<SHA-256 of the original> — holds only the id: a device sends a photo once.
func DeviceUploadKey(device string, sha []byte) Key[storagev1.Upload] {
	return newKey("device-upload").text(device).raw(sha).bytes()
}

// OpenUploadKey: open-upload/<device>/<upload> — holds only the id: what a device has declared and not committed yet, so that
// the count of it does not grow with all that the device has ever sent.
func OpenUploadKey(device, id string) Key[storagev1.Upload] {
	return newKey("open-upload").text(device).text(id).bytes()
}

// OpenUploads is the prefix of the open uploads of a device.
func OpenUploads(device string) Prefix[storagev1.Upload] {
	return newKey("open-upload").text(device).bytes()
}

// AllOpenUploads is the prefix of the open uploads of all devices.
func AllOpenUploads() Prefix[storagev1.Upload] { return newKey("open-upload").bytes() }

// CompletionKey: completion/<completion>
func CompletionKey(id string) Key[storagev1.Completion] { return newKey("completion").text(id).bytes() }

// Completions is the prefix of all completions.
func Completions() Prefix[storagev1.Completion] { return newKey("completion").bytes() }

// FeedHeadKey: feed-head/ — the newest place in the hotline's feed.
func FeedHeadKey() Key[storagev1.SequenceHead] { return newKey("feed-head").bytes() }

// FeedKey: feed/<sequence> — holds only the id: the sealed completions in the order of their sealing.
func FeedKey(sequence uint64) Key[storagev1.Completion] {
	return newKey("feed").number(sequence).bytes()
}

// Feed is the prefix of the hotline's feed.
func Feed() Prefix[storagev1.Completion] { return newKey("feed").bytes() }

// ClaimFeedHeadKey: claim-feed-head/ — the newest place among the claims that the hotline is told of.
func ClaimFeedHeadKey() Key[storagev1.SequenceHead] { return newKey("claim-feed-head").bytes() }

// ClaimFeedKey: claim-feed/<sequence> — holds only the id: the completions that may close a ticket before they are sealed, in the order
// of their claiming.
func ClaimFeedKey(sequence uint64) Key[storagev1.Completion] {
	return newKey("claim-feed").number(sequence).bytes()
}

// ClaimFeed is the prefix of those.
func ClaimFeed() Prefix[storagev1.Completion] { return newKey("claim-feed").bytes() }

// LogHeadKey: log-head/ — the size of the proof log.
func LogHeadKey() Key[storagev1.LogHead] { return newKey("log-head").bytes() }

// LogLeafKey: log-leaf/<number> — the proof log, from 1.
func LogLeafKey(number uint64) Key[storagev1.LogLeaf] {
	return newKey("log-leaf").number(number).bytes()
}

// LogCosignedKey: log-cosigned/<size> — a checkpoint of the proof log that witnesses have cosigned.
func LogCosignedKey(size uint64) Key[storagev1.Cosigned] {
	return newKey("log-cosigned").number(size).bytes()
}

// LogCosigned is the prefix of the cosigned checkpoints.
func LogCosigned() Prefix[storagev1.Cosigned] { return newKey("log-cosigned").bytes() }

// LogLeaves is the prefix of the proof log.
func LogLeaves() Prefix[storagev1.LogLeaf] { return newKey("log-leaf").bytes() }

// OutboxKey: outbox/<due>/<id> — by due time, so that a worker reads only what is due.
func OutboxKey(due time.Time, id string) Key[storagev1.OutboxRow] {
	return newKey("outbox").time(due).text(id).bytes()
}

// Outbox is the prefix of the outbox.
func Outbox() Prefix[storagev1.OutboxRow] { return newKey("outbox").bytes() }

// OutboxDeadKey: outbox-dead/<id>
func OutboxDeadKey(id string) Key[storagev1.OutboxDead] {
	return newKey("outbox-dead").text(id).bytes()
}

// OutboxDeadAll is the prefix of the rows that were given up.
func OutboxDeadAll() Prefix[storagev1.OutboxDead] { return newKey("outbox-dead").bytes() }

// DeliveryKey: delivery/<task>/<assignment epoch>/<device> — how far an order has come on its way to a phone.
func DeliveryKey(task string, epoch uint64, device string) Key[storagev1.Delivery] {
	return newKey("delivery").text(task).number(epoch).text(device).bytes()
}

// Deliveries is the prefix of the deliveries of a task's orders, oldest order first.
func Deliveries(task string) Prefix[storagev1.Delivery] { return newKey("delivery").text(task).bytes() }

// DeliveryHeadKey: delivery-head/<device>
func DeliveryHeadKey(device string) Key[storagev1.DeliveryHead] {
	return newKey("delivery-head").text(device).bytes()
}

// OpenDeliveryKey: open-delivery/<device>/<task> — holds only task, epoch, crew, recall and sequence: the newest order on a task that a
// device has not shown to know.
func OpenDeliveryKey(device, task string) Key[storagev1.Delivery] {
	return newKey("open-delivery").text(device).text(task).bytes()
}

// OpenDeliveries is the prefix of the orders that a device has not shown to know.
func OpenDeliveries(device string) Prefix[storagev1.Delivery] {
	return newKey("open-delivery").text(device).bytes()
}

// ReceivedUploadKey: received-upload/<upload> — holds only the id: what is kept and has not been looked into yet.
func ReceivedUploadKey(id string) Key[storagev1.Upload] {
	return newKey("received-upload").text(id).bytes()
}

// ReceivedUploads is the prefix of the uploads that have not been looked into yet.
func ReceivedUploads() Prefix[storagev1.Upload] { return newKey("received-upload").bytes() }

// LookKey: look/<SHA-256 of the original>
func LookKey(sha []byte) Key[storagev1.Look] { return newKey("look").raw(sha).bytes() }

// Looks is the prefix of what was found in all originals.
func Looks() Prefix[storagev1.Look] { return newKey("look").bytes() }

// PhotoLinkSecretKey: photo-link-secret/ — what signs the public links.
func PhotoLinkSecretKey() Key[storagev1.PhotoLinkSecret] { return newKey("photo-link-secret").bytes() }

// WebPushKeysKey: web-push-keys/ — by what browsers' push services know this server.
func WebPushKeysKey() Key[storagev1.WebPushKeys] { return newKey("web-push-keys").bytes() }

// PhotoPlaceKey: photo-place/<SHA-256 of the original>/<task>/<photo> — where the same bytes were used.
func PhotoPlaceKey(sha []byte, task, photo string) Key[storagev1.PhotoPlace] {
	return newKey("photo-place").raw(sha).text(task).text(photo).bytes()
}

// PhotoPlaces is the prefix of the places of an original.
func PhotoPlaces(sha []byte) Prefix[storagev1.PhotoPlace] {
	return newKey("photo-place").raw(sha).bytes()
}

// NearPhotoKey: near-photo/<band>/<its 16 bits>/<task>/<photo> — the photos that look alike in one quarter of their
// perceptual hash. Each photo stands under its four quarters.
func NearPhotoKey(band uint8, bits uint16, task, photo string) Key[storagev1.PhotoPlace] {
	return newKey("near-photo").raw([]byte{band}).raw(binary.BigEndian.AppendUint16(nil, bits)).text(task).text(photo).bytes()
}

// NearPhotos is the prefix of the photos with the same bits in one quarter of their perceptual hash.
func NearPhotos(band uint8, bits uint16) Prefix[storagev1.PhotoPlace] {
	return newKey("near-photo").raw([]byte{band}).raw(binary.BigEndian.AppendUint16(nil, bits)).bytes()
}

// TicketChangeHeadKey: ticket-change-head/ — the newest place in the log of the changes of tickets.
func TicketChangeHeadKey() Key[storagev1.SequenceHead] { return newKey("ticket-change-head").bytes() }

// TicketChangeKey: ticket-change/<sequence>
func TicketChangeKey(sequence uint64) Key[fieldsyncv1.TicketChange] {
	return newKey("ticket-change").number(sequence).bytes()
}

// TicketChanges is the prefix of the changes of all tickets, in the order of their acceptance.
func TicketChanges() Prefix[fieldsyncv1.TicketChange] { return newKey("ticket-change").bytes() }

// TicketChangeAtKey: ticket-change-at/<time>/<sequence> — holds only ticket and sequence: which changes a time has seen.
func TicketChangeAtKey(at time.Time, sequence uint64) Key[fieldsyncv1.TicketChange] {
	return newKey("ticket-change-at").time(at).number(sequence).bytes()
}

// TicketChangesAt is the prefix of the changes of all tickets by their times.
func TicketChangesAt() Prefix[fieldsyncv1.TicketChange] { return newKey("ticket-change-at").bytes() }

// TicketHeadKey: ticket-head/<ticket>
func TicketHeadKey(ticket string) Key[storagev1.TicketHead] {
	return newKey("ticket-head").text(ticket).bytes()
}

// TicketReportedKey: ticket-reported/<time>/<ticket> — holds only id, time and category: which tickets were reported when.
func TicketReportedKey(at time.Time, ticket string) Key[storagev1.Ticket] {
	return newKey("ticket-reported").time(at).text(ticket).bytes()
}

// TicketsReported is the prefix of the tickets by the time of the report.
func TicketsReported() Prefix[storagev1.Ticket] { return newKey("ticket-reported").bytes() }

// TicketPlaceKey: ticket-place/<cell>/<time, newest first>/<ticket> — holds only the id: which tickets were reported at a place.
func TicketPlaceKey(cell Cell, at time.Time, ticket string) Key[storagev1.Ticket] {
	return newKey("ticket-place").cell(cell).newestFirst(at).text(ticket).bytes()
}

// TicketPlaces is the prefix of the tickets in a cell, newest report first.
func TicketPlaces(cell Cell) Prefix[storagev1.Ticket] {
	return newKey("ticket-place").cell(cell).bytes()
}

// ReporterTicketKey: reporter-ticket/<mark of the telephone number>/<time, newest first>/<ticket> — holds only the id: which tickets
// the same person reported, without telling who it is.
func ReporterTicketKey(mark string, at time.Time, ticket string) Key[storagev1.Ticket] {
	return newKey("reporter-ticket").text(mark).newestFirst(at).text(ticket).bytes()
}

// ReporterTickets is the prefix of the tickets of a reporter, newest first.
func ReporterTickets(mark string) Prefix[storagev1.Ticket] {
	return newKey("reporter-ticket").text(mark).bytes()
}

// APIKeyKey: api-key/<SHA-256 of the key>
func APIKeyKey(sum [sha256.Size]byte) Key[storagev1.ApiKey] {
	return newKey("api-key").raw(sum[:]).bytes()
}

// APIKeys is the prefix of all keys of other systems.
func APIKeys() Prefix[storagev1.ApiKey] { return newKey("api-key").bytes() }

// WebhookKey: webhook/<webhook>
func WebhookKey(id string) Key[storagev1.Webhook] { return newKey("webhook").text(id).bytes() }

// Webhooks is the prefix of all webhooks.
func Webhooks() Prefix[storagev1.Webhook] { return newKey("webhook").bytes() }

// WebhookRetryKey: webhook-retry/<webhook>/<due>/<list>/<sequence> — list is "c" for completions, "t" for changes of tickets.
func WebhookRetryKey(webhook string, due time.Time, list string, sequence uint64) Key[storagev1.WebhookRetry] {
	return newKey("webhook-retry").text(webhook).time(due).text(list).number(sequence).bytes()
}

// WebhookRetries is the prefix of what a webhook has to repeat, by due time.
func WebhookRetries(webhook string) Prefix[storagev1.WebhookRetry] {
	return newKey("webhook-retry").text(webhook).bytes()
}

// WebhookDeadKey: webhook-dead/<webhook>/<list>/<sequence>
func WebhookDeadKey(webhook, list string, sequence uint64) Key[storagev1.WebhookRetry] {
	return newKey("webhook-dead").text(webhook).text(list).number(sequence).bytes()
}

// WebhookDead is the prefix of what a webhook was never given.
func WebhookDead(webhook string) Prefix[storagev1.WebhookRetry] {
	return newKey("webhook-dead").text(webhook).bytes()
}

// PostedKey: posted/<SHA-256 of who posted and of what names the post>
func PostedKey(sum [sha256.Size]byte) Key[storagev1.Posted] {
	return newKey("posted").raw(sum[:]).bytes()
}

// FeedAcknowledgedKey: feed-acknowledged/ — up to where the hotline has acknowledged the feed without a gap.
func FeedAcknowledgedKey() Key[storagev1.Acknowledged] { return newKey("feed-acknowledged").bytes() }

// ClaimFeedAcknowledgedKey: claim-feed-acknowledged/ — the same among the claims.
func ClaimFeedAcknowledgedKey() Key[storagev1.Acknowledged] {
	return newKey("claim-feed-acknowledged").bytes()
}

// ChangesAcknowledgedKey: changes-acknowledged/ — the same in the log of the changes of tickets.
func ChangesAcknowledgedKey() Key[storagev1.Acknowledged] {
	return newKey("changes-acknowledged").bytes()
}

// ChangeAcknowledgedKey: change-acknowledged/<sequence> — a change that was acknowledged before one that comes before it.
func ChangeAcknowledgedKey(sequence uint64) Key[storagev1.Acknowledged] {
	return newKey("change-acknowledged").number(sequence).bytes()
}

// ChangesAcknowledged is the prefix of those.
func ChangesAcknowledged() Prefix[storagev1.Acknowledged] {
	return newKey("change-acknowledged").bytes()
}

// TicketDuplicateKey: ticket-duplicate/<ticket>/<its duplicate> — holds only the duplicate's id.
func TicketDuplicateKey(ticket, duplicate string) Key[storagev1.Ticket] {
	return newKey("ticket-duplicate").text(ticket).text(duplicate).bytes()
}

// TicketDuplicates is the prefix of the duplicates of a ticket.
func TicketDuplicates(ticket string) Prefix[storagev1.Ticket] {
	return newKey("ticket-duplicate").text(ticket).bytes()
}

// LegalHoldKey: legal-hold/<ticket> — the hold on a ticket, lifted ones included.
func LegalHoldKey(ticket string) Key[fieldsyncv1.LegalHold] {
	return newKey("legal-hold").text(ticket).bytes()
}

// LegalHolds is the prefix of all holds.
func LegalHolds() Prefix[fieldsyncv1.LegalHold] { return newKey("legal-hold").bytes() }

// HeldOriginalKey: held-original/<SHA-256 of the original>/<ticket> — what the holds that last keep.
func HeldOriginalKey(sha []byte, ticket string) Key[storagev1.HeldOriginal] {
	return newKey("held-original").raw(sha).text(ticket).bytes()
}

// HeldOriginals is the prefix of the holds on an original.
func HeldOriginals(sha []byte) Prefix[storagev1.HeldOriginal] {
	return newKey("held-original").raw(sha).bytes()
}

// AllHeldOriginals is the prefix of the holds on all originals.
func AllHeldOriginals() Prefix[storagev1.HeldOriginal] { return newKey("held-original").bytes() }

// HoldWorkKey: hold-work/<SHA-256 of the original> — the originals of whose holds the object store has yet to hear.
func HoldWorkKey(sha []byte) Key[storagev1.HoldWork] { return newKey("hold-work").raw(sha).bytes() }

// AllHoldWork is the prefix of all of them.
func AllHoldWork() Prefix[storagev1.HoldWork] { return newKey("hold-work").bytes() }

// DoomedKey: doomed/<SHA-256 of the content> — what is being removed from where originals are kept.
func DoomedKey(sha []byte) Key[storagev1.Doomed] { return newKey("doomed").raw(sha).bytes() }

// AllDoomed is the prefix of all of it.
func AllDoomed() Prefix[storagev1.Doomed] { return newKey("doomed").bytes() }

// FalseReportKey: false-report/<ticket>
func FalseReportKey(ticket string) Key[storagev1.FalseReport] {
	return newKey("false-report").text(ticket).bytes()
}

// FalseReports is the prefix of what was decided about all tickets.
func FalseReports() Prefix[storagev1.FalseReport] { return newKey("false-report").bytes() }

// FalseReportMarkKey: false-report-at/<time>/<ticket> — the decisions by their times.
func FalseReportMarkKey(at time.Time, ticket string) Key[storagev1.FalseReportMark] {
	return newKey("false-report-at").time(at).text(ticket).bytes()
}

// FalseReportMarks is the prefix of the decisions by their times.
func FalseReportMarks() Prefix[storagev1.FalseReportMark] { return newKey("false-report-at").bytes() }

// ReporterSecretKey: reporter-secret/ — what makes telephone numbers unreadable in dossiers and in the index of reporters.
func ReporterSecretKey() Key[storagev1.ReporterSecret] { return newKey("reporter-secret").bytes() }

type keyBuilder []byte

func newKey(word string) keyBuilder { return append(append(make(keyBuilder, 0, 64), word...), 0) }

func (b keyBuilder) text(part string) keyBuilder {
	if strings.ContainsAny(part, "\x00\x01") {
		part = escapeText.Replace(part)
	}
	return append(append(b, part...), 0)
}

var (
	escapeText   = strings.NewReplacer("\x00", "\x01\x01", "\x01", "\x01\x02")
	unescapeText = strings.NewReplacer("\x01\x01", "\x00", "\x01\x02", "\x01")
)

// raw is for parts of a fixed length.
func (b keyBuilder) raw(part []byte) keyBuilder { return append(b, part...) }

func (b keyBuilder) number(part uint64) keyBuilder { return binary.BigEndian.AppendUint64(b, part) }

// time holds the years 1970 to 2262, which is what nanoseconds in 64 bits reach; what lies outside counts as the nearest.
func (b keyBuilder) time(part time.Time) keyBuilder {
	switch {
	case part.Before(time.Unix(0, 0)):
		return b.number(0)
	case part.After(time.Unix(0, math.MaxInt64)):
		return b.number(math.MaxInt64)
	default:
		return b.number(uint64(part.UnixNano()))
	}
}

// newestFirst holds the same years as time, in the other order.
func (b keyBuilder) newestFirst(part time.Time) keyBuilder {
	b = b.time(part)
	for i := len(b) - 8; i < len(b); i++ {
		b[i] = ^b[i]
	}
	return b
}

func (b keyBuilder) cell(part Cell) keyBuilder {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, part.row), part.column)
}

func (b keyBuilder) bytes() []byte { return b }
