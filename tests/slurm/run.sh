#!/bin/sh
# Slurm for real on this machine: the workflow through profiles/slurm, compared with a local run, file by file.
#
#   sh tests/slurm/run.sh [--accounting] [--demo] [--keep] [--local FOLDER]
#
# --accounting: with slurmdbd and MariaDB, so that sacct answers; else squeue is asked. --demo: the demo, not the tiny
# configuration. --keep: leave the folder with both runs and all logs. --local: such a folder, whose local run is taken.
# Needs root on a Debian (packages slurmctld, slurmd, munge from the distribution), no systemd: it starts the daemons
# itself, in a folder of its own, and ends them.
set -eu

ACCOUNTING= CONFIG=tiny KEEP= BEFORE=
while [ $# -gt 0 ]; do
    case $1 in
    --accounting) ACCOUNTING=yes ;;
    --demo) CONFIG=demo ;;
    --keep) KEEP=yes ;;
    --local) BEFORE=$2 && shift ;;
    *) echo "error: $1: use --accounting, --demo, --keep or --local FOLDER"; exit 2 ;;
    esac
    shift
done
[ "$(id -u)" = 0 ] || { echo "error: only root can start Slurm's daemons: run this in a container as root"; exit 2; }
cd "$(dirname "$0")/../.."
REPO=$PWD
PATH=$REPO/.venv/bin:$PATH
PACKAGES="slurmctld slurmd slurm-client munge ${ACCOUNTING:+slurmdbd mariadb-server}"
# shellcheck disable=SC2086
dpkg -s $PACKAGES > /dev/null 2>&1 || {
    apt-get -qq update
    # no service may start: policy-rc.d says so to the packages' scripts
    [ -e /usr/sbin/policy-rc.d ] || { printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d; chmod +x /usr/sbin/policy-rc.d; OURS=yes; }
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $PACKAGES > /dev/null
    [ -z "${OURS:-}" ] || rm /usr/sbin/policy-rc.d
}

CONF=/etc/slurm/slurm.conf # its place: the plugin passes no variable on to a job
[ ! -e $CONF ] || { echo "error: $CONF is there: this machine has a Slurm of its own, use another"; exit 2; }
W=$(mktemp -d /tmp/slurm.XXXXXX)
chmod 755 "$W"
STARTED=
finish() {
    trap - EXIT
    for pid in $STARTED; do kill "$pid" 2> /dev/null || true; done
    sleep 1
    for pid in $STARTED; do kill -9 "$pid" 2> /dev/null || true; done
    rm -f "$CONF"
    if [ -n "$KEEP" ]; then echo "kept: $W"; else rm -rf "$W"; fi
}
trap finish EXIT
trap 'exit 130' INT TERM

# --- the daemons ------------------------------------------------------------------------------------------------------
HOST=$(hostname -s)
CPUS=$(nproc)
MEMORY=$(awk '/MemTotal/ { print int($2 / 1024 * 0.9) }' /proc/meminfo)
mkdir "$W/munge" "$W/state" "$W/spool" "$W/mysql"
chmod 711 "$W/munge"
dd if=/dev/urandom of="$W/munge/key" bs=1024 count=1 2> /dev/null
chmod 400 "$W/munge/key"
munged --foreground --force --socket="$W/munge/socket" --key-file="$W/munge/key" --pid-file="$W/munge/pid" \
    --seed-file="$W/munge/seed" --log-file="$W/munge/log" > "$W/munged.out" 2>&1 &
STARTED="$! $STARTED"

if [ -n "$ACCOUNTING" ]; then
    mariadb-install-db --auth-root-authentication-method=normal --user=root --datadir="$W/mysql" > "$W/mysql.log" 2>&1
    mariadbd --no-defaults --user=root --datadir="$W/mysql" --socket="$W/mysql.socket" --pid-file="$W/mysql.pid" \
        --bind-address=127.0.0.1 --port=16820 --innodb-buffer-pool-size=64M >> "$W/mysql.log" 2>&1 &
    STARTED="$! $STARTED"
    for _ in $(seq 60); do mariadb-admin --no-defaults --socket="$W/mysql.socket" ping > /dev/null 2>&1 && break; sleep 0.5; done
    mariadb --no-defaults --socket="$W/mysql.socket" -e \
        "create user slurm@'127.0.0.1' identified by 'slurm'; create user slurm@localhost identified by 'slurm';
         grant all on slurm_acct_db.* to slurm@'127.0.0.1'; grant all on slurm_acct_db.* to slurm@localhost;"
    cat > "$W/slurmdbd.conf" << END
AuthType=auth/munge
AuthInfo=socket=$W/munge/socket
DbdHost=localhost
DbdPort=16819
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=16820
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
PidFile=$W/slurmdbd.pid
END
    chmod 600 "$W/slurmdbd.conf"
    SLURM_CONF=$W/slurm.conf slurmdbd -D > "$W/slurmdbd.log" 2>&1 &
    STARTED="$! $STARTED"
fi

mkdir -p /etc/slurm
cat > $CONF << END
ClusterName=test
SlurmctldHost=$HOST(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$W/munge/socket
CredType=cred/munge
StateSaveLocation=$W/state
SlurmdSpoolDir=$W/spool
SlurmctldPidFile=$W/slurmctld.pid
SlurmdPidFile=$W/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/filetxt
JobCompLoc=$W/jobs.txt
$([ -z "$ACCOUNTING" ] || printf 'AccountingStorageType=accounting_storage/slurmdbd\nAccountingStorageHost=localhost\nAccountingStoragePort=16819\nAccountingStoragePass=%s\n' "$W/munge/socket")
ReturnToService=2
NodeName=$HOST NodeAddr=127.0.0.1 CPUs=$CPUS RealMemory=$MEMORY State=UNKNOWN
PartitionName=test Nodes=$HOST Default=YES MaxTime=INFINITE State=UP
END
if [ -n "$ACCOUNTING" ]; then
    for _ in $(seq 60); do sacctmgr -n show cluster > /dev/null 2>&1 && break; sleep 0.5; done
    { sacctmgr -i add cluster test && sacctmgr -i add account lab description=lab organization=lab &&
        sacctmgr -i add user root account=lab; } > "$W/sacctmgr.log" 2>&1 ||
        { tail -n 20 "$W/sacctmgr.log" "$W/slurmdbd.log"; echo "error: slurmdbd did not come up"; exit 1; }
fi
slurmctld -D > "$W/slurmctld.log" 2>&1 &
STARTED="$! $STARTED"
slurmd -D -N "$HOST" > "$W/slurmd.log" 2>&1 &
STARTED="$! $STARTED"
for _ in $(seq 60); do sinfo -h -o %T 2> /dev/null | grep -q idle && break; sleep 0.5; done
sinfo -h -o %T | grep -q idle || { tail -n 9 "$W"/*.log; echo "error: Slurm's node did not come up"; exit 1; }

# --- the two runs -----------------------------------------------------------------------------------------------------
copy() {
    mkdir "$W/$1"
    cp -r Snakefile config.yaml config workflow profiles envs tests "$W/$1/"
}
[ $CONFIG = demo ] && CONFIGFILE=config/config.yaml || CONFIGFILE=tests/workflow/tiny.yaml
run() { # folder, options: snakemake in it; its log beside it
    folder=$1
    shift
    (cd "$W/$folder" && timeout 3000 snakemake --configfile "$CONFIGFILE" --cores "$CPUS" "$@") > "$W/$folder.log" 2>&1
}
copy slurm
if [ -n "$BEFORE" ]; then
    cp -r "$BEFORE/local" "$BEFORE/local.log" "$BEFORE/local.s" "$W"
else
    copy local
    START=$(date +%s)
    run local || { tail -n 40 "$W/local.log"; echo "error: the local run failed"; exit 1; }
    echo $(($(date +%s) - START)) > "$W/local.s"
fi
LOCAL=$(cat "$W/local.s")
JOBS=$(sed -n 's/^total  *//p' "$W/local.log" | head -n 1)
START=$(date +%s)
# An interval that fits jobs of seconds; everything else as the profile says.
run slurm --workflow-profile profiles/slurm --slurm-init-seconds-before-status-checks 5 ||
    { tail -n 60 "$W/slurm.log"; echo "error: the run through Slurm failed"; KEEP=yes; exit 1; }
SLURM=$(($(date +%s) - START))
SENT=$(grep -c 'has been submitted with SLURM jobid' "$W/slurm.log")
if python tests/slurm/compare.py "$W/local/results" "$W/slurm/results" > "$W/compare.log"; then SAME=equal; else SAME=DIFFERENT; KEEP=yes; fi
tail -n 5 "$W/compare.log"
python tests/slurm/compare.py --lengths "$W/jobs.txt"

# --- a job that fails -------------------------------------------------------------------------------------------------
echo "no weights" > "$W/broken.pth"
cp "$W/slurm.log" "$W/slurm_run.log"
START=$(date +%s)
if run slurm --workflow-profile profiles/slurm --slurm-init-seconds-before-status-checks 5 --retries 0 \
    --config "embedding={weights: {efficientnet_lite0: $W/broken.pth}}" -- features; then
    FAILED="exit 0"
    KEEP=yes
else
    FAILED="error after $(($(date +%s) - START)) s"
fi
grep -m 1 '^ *error: ' "$W/slurm.log" || { echo "the log does not show the error"; FAILED="no message"; KEEP=yes; }

# --- what docs/operations.md shows ------------------------------------------------------------------------------------
echo "| accounting | configuration | Snakemake jobs | Slurm jobs | local, s | Slurm, s | results | a job that fails |"
echo "|---|---|---|---|---|---|---|---|"
echo "| ${ACCOUNTING:-no} | $CONFIG | $JOBS | $SENT | $LOCAL | $SLURM | $SAME | $FAILED |"
[ $SAME = equal ] && [ "${FAILED#error}" != "$FAILED" ]
