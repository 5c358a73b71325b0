"""Ways that are timed side by side in one process, baselines at their best settings, and the claims as a last line.

A script of this folder imports it by its name, since Python looks beside the script that it runs::

    from side_by_side.claims import NEEDS_MNIST, at_most, report
    from side_by_side.plain_foolbox import BATCHES, linf_pgd
    from side_by_side.timing import alternate, fastest

    def main() -> int:
        if not os.environ.get("ADVTRANSFER_DATA"):
            return report([], not_measured=[NEEDS_MNIST])
        torch.set_num_threads(1)
        ...
        foolbox = {f"Foolbox, batch {batch}": partial(linf_pgd, ..., batch=batch) for batch in BATCHES}
        seconds = alternate({"ours": ours, **foolbox}, repeats=3)
        best = fastest(seconds, foolbox)
        times = f"{seconds['ours']:.2f} s, {best} {seconds[best]:.2f} s"
        ratio = seconds["ours"] / seconds[best]
        return report([at_most("PGD-20, a natural network: time beside Foolbox", ratio, 0.2, times=times)])

    if __name__ == "__main__":
        sys.exit(main())

`report` prints every claim with its times, and a last line of JSON that `tools/performance.py` reads. A script ends
within three minutes on two cores; what takes longer is behind an option.
"""
