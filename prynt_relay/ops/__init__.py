"""What operators need beside the daemon: units, alert rules, scrape configuration, dashboard."""
