// A client of `safa-stream serve` for sclang: steers a session over OSC, hears what it says, and plays its sound on a
// scsynth, through JACK or through a buffer. Every address is in server/PROTOCOL.md.

SafaStream {
	// Seconds between renewals of what the server forgets after ten minutes, and between looks at the reader's place.
	classvar <>renewEvery = 300, <>lookEvery = 2;
	// Frames of the ring buffer: 2.7 s at 48 kHz.
	classvar <>ringFrames = 131072;

	var <addr, <root, <players;
	// What the server last said: clock (samples), rate (Hz), playing, ready (s), layers (how many), meter, error.
	var <clock, <rate, <playing, <ready, <layers, <meter, <error;
	var rings, actions, pings, pingCount = 0, heard, keeper;

	*new { |host = "127.0.0.1", port = 9600, token, session, statusRate = 10|
		^super.new.init(host, port, token, session, statusRate)
	}

	init { |host, port, token, session, statusRate|
		addr = NetAddr(host, port);
		root = if(session.isNil) { "/safa" } { "/safa/session/" ++ session };
		players = List.new;
		rings = IdentityDictionary.new;
		actions = IdentityDictionary.new;
		pings = IdentityDictionary.new;
		heard = { |message, time, from| this.prHeard(message, from) };
		thisProcess.addOSCRecvFunc(heard);
		CmdPeriod.add(this);
		token !? { addr.sendMsg("/safa/auth", token) };
		this.send("state");
		keeper = Routine {
			loop {
				this.send("subscribe", "", 0, statusRate.asFloat);
				rings.do(_.renew);
				renewEvery.wait;
			}
		}.play(SystemClock);
	}

	// Say anything to the server: .send("layer/0/gain", -6, 0.5). Arguments from the first nil on are left out.
	send { |path ... args|
		addr.sendMsg(root ++ "/" ++ path, *args.keep(args.indexOf(nil) ? args.size));
	}

	// Words go over into others within `morph` seconds; now: right after what is being heard, not with the next view.
	prompt { |words, morph = 4, now = false| this.send("prompt", words, morph.asFloat, now) }

	layer { |number = 0| ^SafaStrip(this, "layer/" ++ number) }
	master { ^SafaStrip(this, "master") }
	add { |words, gain = 0, pan = 0, ramp = 2, seed| this.send("layer/add", words, gain.asFloat, pan.asFloat, ramp.asFloat, seed) }

	// A scene that was saved under a name (or a JSON object), reached within `morph` seconds.
	scene { |name, morph = 4| this.send("scene/recall", name, morph.asFloat) }
	save { |name| this.send("scene/save", name) }

	freeze { |on = true| this.send("freeze", on) }
	rewind { |seconds| this.send("rewind", seconds.asFloat) }
	seed { |number, now = false| this.send("seed", number, now) }
	steps { |number| this.send("steps", number) }
	guidance { |value| this.send("guidance", value.asFloat) }
	run { this.send("play") }
	pause { this.send("pause") }

	// Called with the message's arguments, without its address: .on('event/applied', { |...args| args.postln }).
	on { |path, action| actions[path.asSymbol] = action }

	// Ask which sample of the session leaves now; action is called with it.
	ping { |action|
		pingCount = pingCount + 1;
		pings[pingCount] = action;
		this.send("ping", pingCount);
	}

	// Play on `out` and the bus after it. through: \jack takes scsynth's inputs `in` and the one after it, which the
	// server's device feeds; \buffer has the server write into a ring buffer of the scsynth, `lead` seconds ahead.
	play { |out = 0, through = \jack, lead = 0.2, in = 0, target|
		var server = target ? Server.default;
		var player = if(through == \buffer) {
			SafaReader(this, out, lead, this.prRing(server))
		} {
			SafaInput(out, in, server)
		};
		players.add(player);
		^player
	}

	stop {
		players.do(_.free);
		players.clear;
		rings.do(_.free);
		rings.clear;
	}

	free {
		this.stop;
		keeper.stop;
		this.send("unsubscribe");
		thisProcess.removeOSCRecvFunc(heard);
		CmdPeriod.remove(this);
	}

	cmdPeriod { this.free }

	prRing { |server|
		^rings[server] ?? {
			var ring = SafaRing(this, server);
			rings[server] = ring;
			Routine { ring.open }.play(SystemClock);
			ring
		}
	}

	prHeard { |message, from|
		var path = message[0].asString;
		// What was done and what was wrong is told without the session's name.
		var prefix = if(#["/safa/ok", "/safa/error"].includesEqual(path)) { "/safa/" } { root ++ "/" };
		if((from.port == addr.port) and: { from.addr == addr.addr } and: { path.beginsWith(prefix) }) {
			path = path.drop(prefix.size).asSymbol;
			switch(path,
				\status, { this.prStatus(*message.drop(2)) },
				\state, { rate = message[2].asString.findRegexp("\"rate\": *([0-9]+)")[1] !? { |found| found[1].asInteger } },
				\meter, { meter = message.drop(1) },
				\pong, { this.prPong(*message.drop(1)) },
				\error, {
					error = message[2].asString;
					if(actions[\error].isNil) { "safa-stream: % %".format(message[1], error).warn };
				}
			);
			actions[path].value(*message.drop(1));
		}
	}

	prStatus { |seconds, samples, isPlaying, readySeconds, layerCount|
		clock = this.prSample(seconds, samples);
		playing = isPlaying == 1;
		ready = readySeconds;
		layers = layerCount;
	}

	prPong { |number, seconds, samples|
		pings.removeAt(number.asInteger).value(this.prSample(seconds, samples));
	}

	// Two whole numbers, because a float or 32 bits cannot count samples for long. nil until the rate is known.
	prSample { |seconds, samples| ^rate !? { seconds * rate + samples } }
}

// A layer's place in the mix, or the whole mix. ramp: seconds that a change takes.
SafaStrip {
	var stream, path;

	*new { |stream, path| ^super.newCopyArgs(stream, path) }

	send { |field ... args| stream.send(path ++ "/" ++ field, *args) }
	gain { |db, ramp = 0.03| this.send("gain", db.asFloat, ramp.asFloat) }
	pan { |position, ramp = 0.03| this.send("pan", position.asFloat, ramp.asFloat) }
	mute { |on = true, ramp = 0.03| this.send("mute", on, ramp.asFloat) }
	solo { |on = true, ramp = 0.03| this.send("solo", on, ramp.asFloat) }
	low { |db, ramp = 0.03| this.send("low", db.asFloat, ramp.asFloat) }
	high { |db, ramp = 0.03| this.send("high", db.asFloat, ramp.asFloat) }
	duck { |db, by, ramp = 0.03| this.send("duck", db.asFloat, by, ramp.asFloat) }
	prompt { |words, morph = 4, now = false| this.send("prompt", words, morph.asFloat, now) }
	seed { |number, now = false| this.send("seed", number, now) }
	steps { |number| this.send("steps", number) }
	guidance { |value| this.send("guidance", value.asFloat) }
	add { |words, gain = 0, pan = 0, ramp = 2, seed| this.send("add", words, gain.asFloat, pan.asFloat, ramp.asFloat, seed) }
	remove { |ramp = 2| this.send("remove", ramp.asFloat) }
}

// Sound that comes in through scsynth's inputs.
SafaInput {
	var synth;

	*new { |out, in, server| ^super.new.init(out, in, server) }

	init { |out, in, server|
		synth = { SoundIn.ar([in, in + 1]) }.play(server, out, 0.02);
	}

	free { synth.release(0.02) }
}

// A buffer that the server writes into, sample n of the session at frame n modulo the buffer's length: one a scsynth.
SafaRing {
	var stream, <server, <buffer, step, name;

	*new { |stream, server| ^super.newCopyArgs(stream, server) }

	// Make it and have it written. In a routine.
	open {
		var same;
		while { stream.rate.isNil } { 0.02.wait };
		step = stream.rate / server.sampleRate;
		// At the session's own rate samples are read as they are, at another one between four of them.
		same = step == 1;
		name = if(same) { \safaReader } { \safaReaderBetween };
		SynthDef(name, { |out = 0, buffer = 0, start = 0, step = 1, gate = 1|
			var frames = BufFrames.kr(buffer);
			var at = (Phasor.ar(0, step, 0, frames) + start).wrap(0, frames);
			var sound = BufRd.ar(2, buffer, at, 1, if(same) { 1 } { 4 });
			SendReply.kr(Impulse.kr(SafaStream.lookEvery.reciprocal), '/safaReader', at);
			Out.ar(out, sound * EnvGen.kr(Env.asr(0.02, 1, 0.02), gate, doneAction: 2));
		}).send(server);
		buffer = Buffer.alloc(server, SafaStream.ringFrames, 2);
		server.sync;
		this.renew;
	}

	// The server forgets who does not ask again.
	renew { buffer !? { stream.send("audio/ring", this.host, server.addr.port, buffer.bufnum, buffer.numFrames) } }

	// A synth that reads what was written `lag` samples before sample `now`.
	read { |now, lag, out|
		^Synth(name, [out: out, buffer: buffer, step: step, start: (now - lag).round.asInteger % buffer.numFrames], server)
	}

	// Where the scsynth is, as the server is told: empty for the machine that asks.
	host { ^if(server.isLocal) { "" } { server.addr.ip } }

	free {
		stream.send("audio/unsubscribe", this.host, server.addr.port);
		buffer !? { SystemClock.sched(0.1, { buffer.free; nil }) };
	}
}

// A synth that reads a ring `lead` seconds behind what was written. Where the clocks of the session and of the scsynth
// drift apart it is replaced by one in the right place, with a short fade.
SafaReader {
	var stream, out, <lead, ring, synth, watcher, worker;
	// Seconds between what was written last and what is read, as last measured; how often the synth was replaced.
	var <lag, <replaced = -1, away = 0;

	*new { |stream, out, lead, ring| ^super.newCopyArgs(stream, out, lead, ring).init }

	init {
		worker = Routine {
			while { ring.buffer.isNil or: { ring.buffer.numFrames.isNil } } { 0.02.wait };
			(lead + 0.1).wait;
			watcher = OSCFunc({ |message|
				if(synth.notNil and: { message[1] == synth.nodeID }) { this.look(message[3]) }
			}, '/safaReader', ring.server.addr);
			this.seat;
		}.play(SystemClock);
	}

	seat {
		stream.ping { |now|
			now !? {
				synth !? { synth.release };
				replaced = replaced + 1;
				away = 0;
				synth = ring.read(now, lead * stream.rate, out);
			}
		}
	}

	look { |at|
		stream.ping { |now|
			now !? {
				lag = ((now - at) % ring.buffer.numFrames) / stream.rate;
				// Once can be a busy machine that let an answer wait.
				away = if((lag < (lead * 0.25)) or: { lag > (lead + 0.5) }) { away + 1 } { 0 };
				if(away == 3) { this.seat };
			}
		}
	}

	free {
		worker.stop;
		watcher.free;
		synth !? { synth.release };
	}
}
