# The cases of the tools for groups: every way to reset a consumer group's offsets, members, states, and share groups.

groups_tool() { tool $tools.GroupsCommand --bootstrap-server "$BOOTSTRAP" "$@"; }
share_groups() { tool $tools.consumer.group.ShareGroupCommand --bootstrap-server "$BOOTSTRAP" "$@"; }
share_consume() { tool $tools.consumer.ConsoleShareConsumer --bootstrap-server "$BOOTSTRAP" --timeout-ms 30000 "$@"; }
verifiable_produce() { tool $tools.VerifiableProducer --bootstrap-server "$BOOTSTRAP" "$@"; }
verifiable_consume() { tool $tools.VerifiableConsumer --bootstrap-server "$BOOTSTRAP" "$@"; }

# Fifty records of 12:26:40 on a day of 2020, fifty of a quarter of an hour later, ten of now; and a group that has read some.
resets_begin() {
  topics --create --topic resets --partitions 1 --config retention.ms=-1 --config message.timestamp.before.max.ms=9223372036854775807 &&
    verifiable_produce --topic resets --max-messages 50 --message-create-time 1600000000000 >/dev/null &&
    verifiable_produce --topic resets --max-messages 50 --message-create-time 1600001000000 >/dev/null &&
    verifiable_produce --topic resets --max-messages 10 >/dev/null && same resets:0:110 "$(offsets --topic resets)" &&
    same 30 "$(consume --topic resets --group resetters --from-beginning --max-messages 30 | wc -l)"
}
# The offset that the tool says that the group has then, and, unless it was to do nothing, has.
resets() {
  local expected=$1 said
  shift
  said=$(groups --reset-offsets --group resetters "$@")
  same "resetters resets 0 $expected" "$(awk '$2 == "resets" { print $1, $2, $3, $4 }' <<<"$said")" || return 1
  [[ " $* " == *" --dry-run "* ]] || same "$expected" "$(groups --describe --group resetters | awk '$2 == "resets" { print $4 }')"
}
reset_to_current() { resets_begin && resets 30 --to-current --topic resets --execute; }
reset_dry_run() { resets 0 --to-earliest --topic resets --dry-run && resets 30 --to-current --all-topics --execute; }
reset_to_earliest() { resets 0 --to-earliest --topic resets --execute; }
reset_to_latest() { resets 110 --to-latest --topic resets:0 --execute; }
reset_shift_by() { resets 90 --shift-by -20 --all-topics --execute && resets 95 --shift-by 5 --topic resets --execute && resets 110 --shift-by 500 --topic resets --execute; }
reset_to_datetime() { resets 50 --to-datetime 2020-09-13T12:40:00.000 --topic resets --execute && resets 110 --to-datetime 2100-01-01T00:00:00.000 --topic resets --execute; }
reset_by_duration() { resets 100 --by-duration PT1H --topic resets --execute && resets 0 --by-duration P10000D --topic resets --execute; }
reset_to_offset() { resets 42 --to-offset 42 --topic resets --execute && resets 110 --to-offset 4200 --topic resets --execute; }
reset_from_file() {
  groups --reset-offsets --group resetters --to-offset 17 --topic resets --dry-run --export >"$WORK/offsets.csv" &&
    same resets,0,17 "$(tr -d '\r' <"$WORK/offsets.csv" | grep resets)" && resets 17 --from-file "$WORK/offsets.csv" --execute
}
reset_all_groups() {
  same 5 "$(consume --topic resets --group resetters-too --from-beginning --max-messages 5 | wc -l)" || return 1
  local said
  said=$(groups --reset-offsets --all-groups --topic resets --to-offset 60 --execute)
  has "resetters " "$said" && has "resetters-too " "$said" && resets 60 --to-current --topic resets --execute
}
# With a member inside, offsets stay.
reset_refused() {
  verifiable_consume --topic resets --group-id resetters --group-protocol "$1" >"$WORK/member" &
  local member=$! said
  within 40 grep -q partitions_assigned "$WORK/member" || { end $member; return 1; }
  said=$(groups --reset-offsets --group resetters --to-earliest --topic resets --execute 2>&1)
  groups --describe --group resetters --members --verbose >"$WORK/members"
  groups --describe --group resetters --state >"$WORK/state"
  groups --list --state stable --type "$1" >"$WORK/listed"
  groups --delete --group resetters >"$WORK/deleted" 2>&1
  end $member
  has "Assignments can only be reset if the group 'resetters' is inactive" "$said" && has "resets:0" "$(cat "$WORK/members")" &&
    has Stable "$(cat "$WORK/state")" && has resetters "$(cat "$WORK/listed")" && has "is not empty" "$(cat "$WORK/deleted")"
}
reset_refused_classic() { reset_refused classic; }
reset_refused_consumer() { reset_refused consumer; }
group_types() {
  local said
  said=$(groups_tool --list)
  like $'resetters-too +Classic +consumer' "$said" && same "" "$(groups_tool --list --share | grep resetters)" &&
    has resetters-too "$(groups_tool --list --consumer)" && has "resetters-too" "$(groups --list --state empty)"
}

share_group() {
  topics --create --topic shared --partitions 1 && seq 1 20 | produce --topic shared &&
    configs --alter --entity-type groups --entity-name sharers --add-config share.auto.offset.reset=earliest || return 1
  same "$(seq 1 20 | sed 's/^/Delivery:1\t/')" "$(share_consume --topic shared --group sharers --max-messages 20 --formatter-property print.delivery=true)" || return 1
  has share.auto.offset.reset=earliest "$(configs --describe --entity-type groups --entity-name sharers)"
}
share_group_list() {
  same sharers "$(share_groups --list)" && like 'sharers +Empty' "$(share_groups --list --state)" &&
    has "has no active members" "$(share_groups --describe --group sharers --members 2>&1)" && like 'sharers +Share' "$(groups_tool --list --share)"
}
# Where a group begins is kept with a later acknowledgement; what is not acknowledged is told by the lag.
share_group_describe() { same "sharers shared 0 0 0" "$(share_offsets)"; }
share_offsets() { share_groups --describe --group sharers --offsets | awk '$2 == "shared" { print $1, $2, $3, $4, $5 }'; }
share_group_reset() {
  has shared "$(share_groups --reset-offsets --group sharers --topic shared --to-earliest --dry-run)" && same "sharers shared 0 0 0" "$(share_offsets)" || return 1
  share_groups --reset-offsets --group sharers --topic shared --to-earliest --execute && same "sharers shared 0 0 20" "$(share_offsets)" || return 1
  same "$(seq 1 20)" "$(share_consume --topic shared --group sharers --max-messages 20)" || return 1
  share_groups --reset-offsets --group sharers --topic shared --to-datetime 2020-01-01T00:00:00.000 --execute && same "sharers shared 0 0 20" "$(share_offsets)" || return 1
  share_groups --reset-offsets --group sharers --all-topics --to-latest --execute && same "sharers shared 0 20 0" "$(share_offsets)"
}
share_group_verifiable() {
  share_groups --reset-offsets --group sharers --topic shared --to-earliest --execute || return 1
  has '"count":20,' "$(tool $tools.VerifiableShareConsumer --bootstrap-server "$BOOTSTRAP" --topic shared --group-id sharers --max-messages 20 |
    grep offsets_acknowledged)" || return 1
  share_groups --reset-offsets --group sharers --topic shared --to-earliest --execute || return 1
  has "20" "$(tool $tools.ShareConsumerPerformance --bootstrap-server "$BOOTSTRAP" --topic shared --group sharers --num-records 20 --timeout 20000)"
}
share_group_delete() {
  share_groups --delete-offsets --group sharers --topic shared && same "" "$(share_offsets)" || return 1
  share_groups --delete --group sharers && same "" "$(share_groups --list)"
}
verifiable() {
  local said
  said=$(verifiable_produce --topic verified --max-messages 50 --value-prefix 7 --repeating-keys 3)
  has '"sent":50' "$said" && has '"acked":50' "$said" && has '"value":"7.49"' "$said" || return 1
  said=$(verifiable_consume --topic verified --group-id verifiers --max-messages 50 --verbose --group-protocol "$1" --reset-policy earliest)
  same 50 "$(grep -c '"name":"record_data"' <<<"$said")" && has '"name":"offsets_committed"' "$said" && has '"success":true' "$said"
}
verifiable_classic() { verifiable classic; }
verifiable_consumer() {
  groups --delete --group verifiers && topics --delete --topic verified && verifiable consumer
}
